//! The question what is stored, and what follows for whether the servers know it at all.
//!
//! **Invariant**: a server that gave a proper answer once is never sent rows without their numbers
//! again, by this session.

use protocol::limits::LINE_BYTES_MAX;
use protocol::{Request, Response};
use tokio::time::Instant;
use tracing::debug;

use super::{Ended, Session, Status, first_word};
use crate::connection::Fault;

/// The reason with which a server of ours, of any version, answers a packet that it does not know.
const UNKNOWN_PACKET: &str = "unknown packet";

/// What a server made of `AgencyStatus`.
enum Reaction {
    Told(Status),
    /// It knows the packet and could not.
    Busy(String),
    /// It knows the packet and has no such agency.
    Refused(String),
    /// It closed the connection without a byte.
    Closed,
    /// It said that it knows no such packet.
    Unknown,
    /// Whatever went wrong: nothing follows.
    Failed(Fault),
}

impl Session {
    /// Asks what is stored for the agency, until a server says.
    ///
    /// # Errors
    /// [`Ended::OldServers`] if the settings allow for such, and servers have closed connections
    /// on it so often that they are taken for some, or one said that it knows no such packet.
    pub async fn status(&mut self) -> Result<Status, Ended> {
        loop {
            match self.ask_status().await? {
                Reaction::Told(status) => {
                    self.old_servers.rule_out();
                    let Status { rows, digest, state } = status;
                    debug!(action = "status", result = "success", rows, %digest, %state);
                    return Ok(status);
                }
                Reaction::Busy(reason) => {
                    self.old_servers.rule_out();
                    self.not_done(Fault::Busy(reason)).await?;
                }
                Reaction::Refused(reason) => return Err(Ended::refused(&reason)),
                Reaction::Closed => {
                    self.leave(&Fault::Closed);
                    let (known, now) = (self.endpoints.known(), Instant::now());
                    if let Some(address) = self.last_address
                        && self.old_servers.closed(address, known, now)
                    {
                        return Err(Ended::OldServers);
                    }
                }
                Reaction::Unknown => {
                    self.leave(&Fault::Nonsense(format!("Error:{UNKNOWN_PACKET}")));
                    if self.old_servers.unknown() {
                        return Err(Ended::OldServers);
                    }
                }
                Reaction::Failed(fault) => {
                    self.note(&fault);
                    self.leave(&fault);
                }
            }
        }
    }

    /// Asks the same by a connection of its own, and says whether the servers still do what those
    /// do that do not know it. If not, they are never taken for such again.
    ///
    /// # Errors
    /// As [`Session::ask`]; [`Ended::Refused`] if there is no such agency.
    pub async fn is_still_old(&mut self) -> Result<bool, Ended> {
        loop {
            self.hang_up();
            let reaction = self.ask_status().await?;
            self.hang_up();
            match reaction {
                Reaction::Closed | Reaction::Unknown => {
                    // It is there, and did what was to be expected.
                    self.last_address.iter().for_each(|address| self.endpoints.is_there(*address));
                    return Ok(true);
                }
                Reaction::Told(_) | Reaction::Busy(_) => {
                    self.old_servers.rule_out();
                    return Ok(false);
                }
                Reaction::Refused(reason) => return Err(Ended::refused(&reason)),
                Reaction::Failed(fault) => self.leave(&fault),
            }
        }
    }

    /// Asks once, and leaves it to the caller to leave the server.
    async fn ask_status(&mut self) -> Result<Reaction, Ended> {
        let mut packet = Vec::new();
        Request::AgencyStatus { agency: self.agency }.write(&mut packet);
        self.connect().await?;
        Ok(match self.exchange(&packet, self.patience.answer, LINE_BYTES_MAX).await {
            Ok(Response::AgencyStatus { rows, digest, state }) => {
                Reaction::Told(Status { rows, digest, state })
            }
            Ok(Response::Error(reason)) if reason == UNKNOWN_PACKET => Reaction::Unknown,
            Ok(Response::Error(reason)) => match first_word(&reason) {
                "agency" | "invalid" => Reaction::Refused(reason),
                "busy" => Reaction::Busy(reason),
                _ => Reaction::Failed(Fault::Nonsense(format!("Error:{reason}"))),
            },
            Ok(other) => Reaction::Failed(Fault::nonsense(&other)),
            Err(Fault::Closed) => Reaction::Closed,
            Err(fault) => Reaction::Failed(fault),
        })
    }
}
