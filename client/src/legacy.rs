//! The replay against servers that know neither `AgencyStatus` nor `StoreRows`.
//!
//! A connection a packet, as those servers want it. What is stored already is not to be known, so
//! bets are sent from the first row each time, and a batch whose answer was lost is sent again:
//! every bet is stored at least once, and exactly-once is not promised.

use protocol::{Request, Response, write_rows_packet};
use tracing::warn;

use crate::connection::Fault;
use crate::replay::{Work, log_closed, log_sent};
use crate::session::{Ended, Session};

/// Sends all bets and closes the agency.
///
/// # Errors
/// See [`Ended`].
pub async fn replay(session: &mut Session, work: Work<'_>) -> Result<(), Ended> {
    warn!(
        action = "fallback",
        result = "success",
        warning = "this server knows no AgencyStatus and no StoreRows: bets go by StoreBatch, and \
                   exactly-once is not promised; a bet whose answer is lost may be stored twice, \
                   and so is a file that is sent twice"
    );
    session.connection_a_packet();
    session.progressed();
    let agency = session.agency();
    let mut packet = Vec::with_capacity(work.limits.bytes);
    let mut row = 1;
    while let Some(batch) = work.bets.batch(row, work.limits) {
        packet.clear();
        write_rows_packet(agency, None, batch.wire, &mut packet);
        store(session, &packet).await?;
        log_sent(session, batch, work.is_single);
        session.bar().set_position(batch.last_row());
        row = batch.last_row() + 1;
    }
    close(session, work.bets.rows()).await
}

/// Sends a batch until it is stored.
async fn store(session: &mut Session, packet: &[u8]) -> Result<(), Ended> {
    loop {
        match session.ask(packet).await? {
            Ok(Response::Store { stored: true }) => {
                session.progressed();
                session.hang_up();
                return Ok(());
            }
            Ok(Response::Store { stored: false }) => {
                session.hang_up();
                session.busy("StoreResponse:1").await?;
            }
            Ok(Response::Error(reason)) => return Err(Ended::Refused(reason)),
            Ok(other) => session.leave_nonsense(&other),
            Err(fault) => warn_of_doubt(&fault),
        }
    }
}

fn warn_of_doubt(fault: &Fault) {
    warn!(
        action = "apuestas_enviadas",
        result = "fail",
        error = %fault,
        next = "sent again; if it was stored, it is stored twice now"
    );
}

async fn close(session: &mut Session, rows: u64) -> Result<(), Ended> {
    let mut packet = Vec::new();
    Request::AgencyClose { agency: session.agency(), rows: None }.write(&mut packet);
    while session.tell(&packet).await?.is_err() {}
    session.progressed();
    log_closed(session, rows);
    Ok(())
}
