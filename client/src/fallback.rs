//! The fallback: a replay against legacy servers, which know neither `AgencyStatus` nor
//! `StoreRows`.
//!
//! Each packet has its own connection, because a legacy server closes the connection after its
//! answer. Bets are sent in the only form of `StoreBatch` that a legacy server accepts, also a
//! single bet. The client cannot ask what is stored, so it starts from the first row, and it sends
//! a batch again if the answer was lost: each bet is stored at least once, not exactly once.
//!
//! **Invariant**: the client asks `AgencyStatus` before each packet and stops the fallback as soon
//! as a server answers it. So a current server that was away receives one such packet at most.

use protocol::{Request, Response, write_rows_packet};
use tracing::{info, warn};

use crate::input::Input;
use crate::replay::{log_closed, log_sent};
use crate::server_connection::ExchangeError;
use crate::session::{Session, SessionError};

/// How the fallback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackEnd {
    /// All bets were sent and the agency has closed.
    Closed,
    /// A server answered `AgencyStatus`: the rest is sent by `StoreRows`.
    NotNeeded,
}

/// Sends all bets and closes the agency, as long as the servers are legacy servers.
///
/// # Errors
/// See [`SessionError`].
pub async fn replay(session: &mut Session, input: &Input) -> Result<FallbackEnd, SessionError> {
    let warning = "this server knows no AgencyStatus and no StoreRows: bets are sent by StoreBatch \
                   and exactly-once is not promised: a bet whose answer is lost may be stored \
                   twice, and so is a file that is sent twice. If all servers know them, set \
                   CLI_FALLBACK=no";
    session.bar.suspend(|| warn!(action = "fallback", result = "success", warning));
    session.set_connection_per_packet(true);
    session.note_progress();
    let end = send_all(session, input).await?;
    if end == FallbackEnd::NotNeeded {
        session.set_connection_per_packet(false);
        let next = "a server answers AgencyStatus: continues from what is stored";
        info!(action = "fallback", result = "ended", next);
    }
    Ok(end)
}

async fn send_all(session: &mut Session, input: &Input) -> Result<FallbackEnd, SessionError> {
    let Session { agency, limits, .. } = *session;
    let mut packet = Vec::with_capacity(limits.bytes);
    let mut row = 1;
    while let Some(batch) = input.bets.batch(row, limits) {
        packet.clear();
        write_rows_packet(agency, None, batch.wire, &mut packet);
        if !store(session, &packet).await? {
            return Ok(FallbackEnd::NotNeeded);
        }
        log_sent(batch, input.is_single);
        session.bar.set_position(batch.last_row());
        row = batch.last_row() + 1;
    }
    packet.clear();
    Request::AgencyClose { agency, rows: None }.write(&mut packet);
    while session.is_still_legacy().await? {
        if session.send_without_answer(&packet).await?.is_ok() {
            session.note_progress();
            log_closed(input.bets.rows());
            return Ok(FallbackEnd::Closed);
        }
    }
    Ok(FallbackEnd::NotNeeded)
}

/// Sends a batch until it is stored; `false` if a server answered `AgencyStatus` before that.
async fn store(session: &mut Session, packet: &[u8]) -> Result<bool, SessionError> {
    while session.is_still_legacy().await? {
        match session.ask(packet).await? {
            Ok(Response::Store { stored: true }) => {
                session.note_progress();
                return Ok(true);
            }
            Ok(Response::Store { stored: false }) => {
                session.retry_later(ExchangeError::NotStored).await?;
            }
            Ok(Response::Error(reason)) => return Err(SessionError::refused(&reason)),
            Ok(other) => session.leave_server(&ExchangeError::unexpected(&other)),
            Err(error) => {
                let next = "sent again, unless AgencyStatus is answered now; if it was stored, it \
                            is then stored twice";
                session.bar.suspend(|| {
                    warn!(action = "apuestas_enviadas", result = "fail", %error, next);
                });
            }
        }
    }
    Ok(false)
}
