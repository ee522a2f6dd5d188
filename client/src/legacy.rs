//! The fallback: the replay against servers that know neither `AgencyStatus` nor `StoreRows`.
//!
//! Each packet has a connection of its own, because such a server closes the connection behind its
//! answer. Bets go in the one form of `StoreBatch` that such a server takes, also a single bet. The
//! client cannot learn what is stored already, so it sends bets from the first row each time, and
//! sends a batch again whose answer was lost: every bet is stored at least once, and exactly-once
//! is not promised.
//!
//! **Invariant**: before each packet `AgencyStatus` is asked, and nothing is sent this way once a
//! server has answered that. So servers of ours that were only away for a while get no more of it
//! than the packet before which they came back.

use protocol::{Request, Response, write_rows_packet};
use tracing::{info, warn};

use crate::connection::Fault;
use crate::replay::{Work, log_closed, log_sent};
use crate::session::{Ended, Session};

/// How the fallback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// All bets were sent and the agency has closed.
    Closed,
    /// A server knows `AgencyStatus` after all: what is stored is to be asked, and the rest sent
    /// by `StoreRows`.
    Over,
}

/// Sends all bets and closes the agency, or as much of it as the servers stay old.
///
/// # Errors
/// See [`Ended`].
pub async fn replay(session: &mut Session, work: Work<'_>) -> Result<Fallback, Ended> {
    warn_of_fallback(session);
    session.set_connection_a_packet(true);
    session.progressed();
    let agency = session.agency();
    let mut packet = Vec::with_capacity(work.limits.bytes);
    let mut row = 1;
    while let Some(batch) = work.bets.batch(row, work.limits) {
        packet.clear();
        write_rows_packet(agency, None, batch.wire, &mut packet);
        if store(session, &packet).await? == Sent::No {
            return Ok(over(session));
        }
        log_sent(session, batch, work.is_single);
        session.bar().set_position(batch.last_row());
        row = batch.last_row() + 1;
    }
    match close(session, work.bets.rows()).await? {
        Sent::Yes => Ok(Fallback::Closed),
        Sent::No => Ok(over(session)),
    }
}

fn warn_of_fallback(session: &Session) {
    let warning = "this server knows no AgencyStatus and no StoreRows: bets go by StoreBatch, and \
                   exactly-once is not promised: a bet whose answer is lost may be stored twice, \
                   and so is a file that is sent twice. Where all servers know them, set \
                   CLI_FALLBACK=no";
    session.bar().suspend(|| warn!(action = "fallback", result = "success", warning));
}

fn over(session: &mut Session) -> Fallback {
    session.set_connection_a_packet(false);
    let next = "a server answers AgencyStatus after all: goes on from what is stored";
    session.bar().suspend(|| info!(action = "fallback", result = "ended", next));
    Fallback::Over
}

/// Whether a packet has been sent, or need not be: the servers are not old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Yes,
    No,
}

/// Sends a batch until it is stored.
async fn store(session: &mut Session, packet: &[u8]) -> Result<Sent, Ended> {
    while session.is_still_old().await? {
        match session.ask(packet).await? {
            Ok(Response::Store { stored: true }) => {
                session.progressed();
                return Ok(Sent::Yes);
            }
            Ok(Response::Store { stored: false }) => session.not_done(Fault::NotStored).await?,
            Ok(Response::Error(reason)) => return Err(Ended::refused(&reason)),
            Ok(other) => session.leave(&Fault::nonsense(&other)),
            Err(fault) => warn_of_doubt(session, &fault),
        }
    }
    Ok(Sent::No)
}

fn warn_of_doubt(session: &Session, fault: &Fault) {
    let next = "sent again, unless AgencyStatus is answered now; if it was stored, it is stored \
                twice then";
    session.bar().suspend(|| {
        warn!(action = "apuestas_enviadas", result = "fail", error = %fault, next);
    });
}

async fn close(session: &mut Session, rows: u64) -> Result<Sent, Ended> {
    let mut packet = Vec::new();
    Request::AgencyClose { agency: session.agency(), rows: None }.write(&mut packet);
    while session.is_still_old().await? {
        if session.tell(&packet).await?.is_ok() {
            session.progressed();
            log_closed(session, rows);
            return Ok(Sent::Yes);
        }
    }
    Ok(Sent::No)
}
