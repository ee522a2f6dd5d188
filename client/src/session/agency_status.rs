//! The question `AgencyStatus`, and what its answers say about whether the servers are legacy
//! servers.
//!
//! **Invariant**: after one proper answer this session never sends rows without their numbers.

use protocol::limits::LINE_BYTES_MAX;
use protocol::{Request, Response};
use tokio::time::Instant;
use tracing::debug;

use super::{Session, SessionError, Status, first_word};
use crate::server_connection::ExchangeError;

/// The reason with which our servers, in every version, answer a packet that they do not know.
const UNKNOWN_PACKET: &str = "unknown packet";

/// How a server reacted to `AgencyStatus`.
enum Reaction {
    Answered(Status),
    /// It knows the packet and could not answer it now.
    Busy(String),
    /// It knows the packet and has no such agency.
    Refused(String),
    /// It closed the connection without a byte.
    Closed,
    /// It answered that it does not know the packet.
    Unknown,
    /// Any other failure, from which nothing follows.
    Failed(ExchangeError),
}

impl Session {
    /// Asks for the agency's status until a server answers.
    ///
    /// # Errors
    /// As [`Session::ask`]; [`SessionError::LegacyServers`] if the fallback is allowed and the
    /// servers are taken for legacy servers; [`SessionError::Refused`] if the agency is unknown.
    pub async fn status(&mut self) -> Result<Status, SessionError> {
        loop {
            match self.ask_status().await? {
                Reaction::Answered(status) => {
                    self.legacy_detection.exclude();
                    let Status { rows, digest, state } = status;
                    debug!(action = "status", result = "success", rows, %digest, %state);
                    return Ok(status);
                }
                Reaction::Busy(reason) => {
                    self.legacy_detection.exclude();
                    self.retry_later(ExchangeError::Busy(reason)).await?;
                }
                Reaction::Refused(reason) => return Err(SessionError::refused(&reason)),
                Reaction::Closed => {
                    self.leave_server(&ExchangeError::Closed);
                    let (known, now) = (self.endpoints.known(), Instant::now());
                    if let Some(address) = self.last_address
                        && self.legacy_detection.note_close(address, known, now)
                    {
                        return Err(SessionError::LegacyServers);
                    }
                }
                Reaction::Unknown => {
                    let answer = format!("Error:{UNKNOWN_PACKET}");
                    self.leave_server(&ExchangeError::UnexpectedAnswer(answer));
                    if self.legacy_detection.note_unknown_packet() {
                        return Err(SessionError::LegacyServers);
                    }
                }
                Reaction::Failed(error) => {
                    if let Some(address) = self.last_address {
                        self.legacy_detection.note_error(address, &error);
                    }
                    self.leave_server(&error);
                }
            }
        }
    }

    /// Asks for the status on a new connection, and returns whether the server still reacts as a
    /// legacy server. If not, the session never takes the servers for legacy servers again.
    ///
    /// # Errors
    /// As [`Session::ask`]; [`SessionError::Refused`] if the agency is unknown.
    pub async fn is_still_legacy(&mut self) -> Result<bool, SessionError> {
        loop {
            self.connection = None;
            let reaction = self.ask_status().await?;
            self.connection = None;
            match reaction {
                Reaction::Closed | Reaction::Unknown => {
                    // A legacy server reacts like this when all is well, so it did not fail.
                    if let Some(address) = self.last_address {
                        self.endpoints.clear_tried(address);
                    }
                    return Ok(true);
                }
                Reaction::Answered(_) | Reaction::Busy(_) => {
                    self.legacy_detection.exclude();
                    return Ok(false);
                }
                Reaction::Refused(reason) => return Err(SessionError::refused(&reason)),
                Reaction::Failed(error) => self.leave_server(&error),
            }
        }
    }

    /// Asks once. The caller leaves the server if it has to.
    async fn ask_status(&mut self) -> Result<Reaction, SessionError> {
        let mut packet = Vec::new();
        Request::AgencyStatus { agency: self.agency }.write(&mut packet);
        self.connect().await?;
        Ok(match self.exchange(&packet, self.timeouts.answer, LINE_BYTES_MAX).await {
            Ok(Response::AgencyStatus { rows, digest, state }) => {
                Reaction::Answered(Status { rows, digest, state })
            }
            Ok(Response::Error(reason)) if reason == UNKNOWN_PACKET => Reaction::Unknown,
            Ok(Response::Error(reason)) => match first_word(&reason) {
                "agency" | "invalid" => Reaction::Refused(reason),
                "busy" => Reaction::Busy(reason),
                _ => Reaction::Failed(ExchangeError::UnexpectedAnswer(format!("Error:{reason}"))),
            },
            Ok(other) => Reaction::Failed(ExchangeError::unexpected(&other)),
            Err(ExchangeError::Closed) => Reaction::Closed,
            Err(error) => Reaction::Failed(error),
        })
    }
}
