//! One agency's dealings with the servers: whichever instance takes a packet, in bounded time.
//!
//! Owns the connection, the choice of the next instance, the pauses between failures and the
//! patience with all of them. Knows when an answer is to the packet and not what follows from it.
//!
//! **Invariant**: an answer that did not come leaves no doubt behind: the connection is dropped,
//! so that a late answer can never be taken for the answer to a later packet.

mod agency_status;

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::ProgressBar;
use protocol::limits::LINE_BYTES_MAX;
use protocol::{AgencyId, AgencyState, Digest, Request, Response};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::connection::{Connection, Fault};
use crate::endpoints::{Choice, Endpoints};
use crate::limits::BUSY_ANSWERS_MAX;
use crate::old_servers::OldServers;
use crate::settings::{Config, Patience};

/// Why a session ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A signal asked for it.
    #[error("a signal ended it; started again it goes on from here")]
    Shutdown,
    /// Nothing went on for too long.
    #[error(
        "no progress in {0:?} (CLI_GIVE_UP_AFTER) at any server of CLI_SERVER_ADDRESS; the last \
         failure: {1}; run the client again when that is mended"
    )]
    GaveUp(Duration, String),
    /// What is stored is not what this agency's file says.
    #[error("conflict: {0}")]
    Conflict(String),
    /// A server refused for good.
    #[error("refused: {0}")]
    Refused(String),
    /// The servers do not know `AgencyStatus`.
    #[error("the servers do not know AgencyStatus")]
    OldServers,
}

impl Ended {
    /// The end by a refusal. Its first word is for programs; people need not read it twice.
    #[must_use]
    pub fn refused(reason: &str) -> Self {
        let word = first_word(reason);
        let text = reason.strip_prefix(word).unwrap_or_default().trim_start();
        let said = if text.starts_with(word) { text } else { reason };
        Self::Refused(match word {
            "agency" => format!("{said} (is CLI_ID beyond the servers' AGENCIES_AMOUNT?)"),
            _ => said.to_owned(),
        })
    }
}

/// What a server said about the agency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// How many rows are stored.
    pub rows: u64,
    /// Their digest.
    pub digest: Digest,
    /// Where the agency stands.
    pub state: AgencyState,
}

/// An answer, or why there is none; then the instance has been left.
pub type Answer = Result<Response, Fault>;

/// See the module.
#[derive(Debug)]
pub struct Session {
    agency: AgencyId,
    patience: Patience,
    endpoints: Endpoints,
    connection: Option<Connection>,
    /// Where the last connection went, or was to go.
    last_address: Option<SocketAddr>,
    /// Whether each packet goes by a connection of its own; these are too many to log.
    has_connection_a_packet: bool,
    shutdown: CancellationToken,
    bar: ProgressBar,
    /// When something last went on.
    progress_at: Instant,
    last_failure: String,
    /// What a person should know if that failure lasts.
    advice: Option<&'static str>,
    /// Pauses in a row, which sets the length of the next.
    pauses: u32,
    /// Answers in a row which said that the instance did nothing.
    not_done_count: u32,
    old_servers: OldServers,
}

impl Session {
    /// A session of `agency` with the servers of `config`, which ends early at `shutdown`. `bar`
    /// steps aside for log lines.
    #[must_use]
    pub fn new(
        config: &Config,
        agency: AgencyId,
        shutdown: CancellationToken,
        bar: ProgressBar,
    ) -> Self {
        Self {
            agency,
            patience: config.patience,
            endpoints: Endpoints::new(config.servers.0.clone(), agency),
            connection: None,
            last_address: None,
            has_connection_a_packet: false,
            shutdown,
            bar,
            progress_at: Instant::now(),
            last_failure: "none".to_owned(),
            advice: None,
            pauses: 0,
            not_done_count: 0,
            old_servers: OldServers::new(config.is_fallback_allowed, config.patience.old),
        }
    }

    /// Whose session it is.
    #[must_use]
    pub fn agency(&self) -> AgencyId {
        self.agency
    }

    /// Where progress is shown on a terminal.
    #[must_use]
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Says that something went on: the patience begins anew, and no instance is out of favour.
    pub fn progressed(&mut self) {
        self.progress_at = Instant::now();
        self.pauses = 0;
        self.not_done_count = 0;
        self.endpoints.went_well();
    }

    /// Says that a server is there, though nothing goes on: there is nothing to do but wait.
    pub fn reached(&mut self) {
        self.progress_at = Instant::now();
    }

    /// Sends `packet` to whichever instance is to be had and gives its answer. A fault has been
    /// logged, and its instance left: it is not known then whether the packet took effect.
    ///
    /// # Errors
    /// No instance could be reached for too long, or a signal asks for the end.
    pub async fn ask(&mut self, packet: &[u8]) -> Result<Answer, Ended> {
        self.connect().await?;
        let answer = self.exchange(packet, self.patience.answer, LINE_BYTES_MAX).await;
        Ok(answer.inspect_err(|fault| self.leave(fault)))
    }

    /// As [`Session::ask`] with the packet `WinnersRequest`, whose answer may take hours and be
    /// `bytes_max` bytes long: after a while it is left for another instance to answer.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn ask_for_winners(&mut self, bytes_max: usize) -> Result<Answer, Ended> {
        let mut packet = Vec::new();
        Request::WinnersRequest { agency: self.agency }.write(&mut packet);
        self.connect().await?;
        let (shutdown, limit) = (self.shutdown.clone(), self.patience.winners);
        let answer = tokio::select! {
            answer = self.exchange(&packet, limit, bytes_max) => answer,
            () = shutdown.cancelled() => return Err(Ended::Shutdown),
        };
        Ok(answer.inspect_err(|fault| match fault {
            Fault::AnswerTimeout(_) => self.leave_waiting(),
            fault => self.leave(fault),
        }))
    }

    /// Sends `packet`, which has no answer, and sees that the instance has read it.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn tell(&mut self, packet: &[u8]) -> Result<Result<(), Fault>, Ended> {
        self.connect().await?;
        let limit = self.patience.answer;
        let mut told = match &mut self.connection {
            Some(connection) => connection.send(packet, limit).await,
            None => Err(Fault::Closed),
        };
        if let (Ok(()), Some(connection)) = (&told, self.connection.take()) {
            told = connection.finish(limit).await;
        }
        Ok(told.inspect_err(|fault| self.leave(fault)))
    }

    async fn exchange(&mut self, packet: &[u8], first: Duration, bytes_max: usize) -> Answer {
        let limit = self.patience.answer;
        let Some(connection) = &mut self.connection else { return Err(Fault::Closed) };
        connection.send(packet, limit).await?;
        connection.receive(first, limit, bytes_max).await
    }

    /// Notes that the instance did nothing. Pauses, and leaves the instance after
    /// [`BUSY_ANSWERS_MAX`] such answers in a row.
    ///
    /// # Errors
    /// As [`Session::pause`].
    pub async fn not_done(&mut self, fault: Fault) -> Result<(), Ended> {
        self.not_done_count += 1;
        if self.not_done_count.is_multiple_of(BUSY_ANSWERS_MAX) {
            self.leave(&fault);
            return Ok(());
        }
        let next = match self.has_connection_a_packet {
            true => "a new connection",
            false => "the same server again",
        };
        self.warn("answer", &fault, next);
        self.pause().await
    }

    /// Ends the connection and puts its instance last.
    pub fn leave(&mut self, fault: &Fault) {
        let next = match self.endpoints.known().len() {
            0 | 1 => "a new connection",
            _ => "another server",
        };
        self.warn("connection", fault, next);
        self.drop_connection();
    }

    /// An instance that may only be waiting as well: nothing is wrong.
    fn leave_waiting(&mut self) {
        let (seconds, next) = (self.patience.winners.as_secs(), "asks anew");
        self.bar.suspend(|| {
            info!(action = "consulta_ganadores", result = "in_progress", seconds, next);
        });
        self.drop_connection();
        self.pauses = 0;
    }

    /// Closes the connection, if there is one, for the next packet to go by another.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        if let Some(address) = self.last_address {
            self.endpoints.failed(address);
        }
    }

    fn warn(&mut self, action: &str, fault: &Fault, next: &str) {
        let address = self.last_address.map(|address| address.to_string());
        self.last_failure = match &address {
            Some(address) => format!("{address}: {fault}"),
            None => fault.to_string(),
        };
        self.advice = fault.advice();
        let address = address.unwrap_or_else(|| "none".to_owned());
        self.bar.suspend(|| warn!(action, result = "fail", address, error = %fault, next));
    }

    /// Sees to a connection, to whichever instance takes one.
    async fn connect(&mut self) -> Result<(), Ended> {
        while self.connection.is_none() {
            if self.shutdown.is_cancelled() {
                return Err(Ended::Shutdown);
            }
            let limit = self.patience.connect;
            let choice = timeout(limit, self.endpoints.next()).await;
            match choice.unwrap_or_else(|_| Err(self.endpoints.not_found_in(limit))) {
                Ok(choice) => self.connect_to(choice).await?,
                Err(error) => {
                    self.last_address = None;
                    self.old_servers.forget();
                    self.warn("look_up", &Fault::Io(error), "the same names again");
                    self.pause().await?;
                }
            }
        }
        if self.shutdown.is_cancelled() { Err(Ended::Shutdown) } else { Ok(()) }
    }

    async fn connect_to(&mut self, choice: Choice) -> Result<(), Ended> {
        if choice.is_new_round {
            self.pause().await?;
        }
        self.last_address = Some(choice.address);
        match Connection::open(choice.address, self.patience.connect).await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.log_connected(choice.address);
            }
            Err(fault) => {
                self.note(&fault);
                let next = match self.endpoints.known().len() {
                    0 | 1 => "the same server",
                    _ => "another server",
                };
                self.warn("connect", &fault, next);
            }
        }
        Ok(())
    }

    /// Takes note of a fault before the servers are known for new ones or old ones.
    fn note(&mut self, fault: &Fault) {
        if let Some(address) = self.last_address {
            self.old_servers.failed(address, fault);
        }
    }

    /// Once for each change of the instance, not for each of many connections to it.
    fn log_connected(&mut self, address: SocketAddr) {
        if self.has_connection_a_packet {
            debug!(action = "connect", result = "success", %address);
        } else {
            self.bar.suspend(|| info!(action = "connect", result = "success", %address));
        }
    }

    /// Says whether every packet goes by a connection of its own from here on: then those are too
    /// many to log.
    pub fn set_connection_a_packet(&mut self, is_so: bool) {
        self.has_connection_a_packet = is_so;
        self.hang_up();
    }

    /// Waits a while, longer after each failure in a row.
    ///
    /// # Errors
    /// Nothing has gone on for too long, or a signal asks for the end.
    pub async fn pause(&mut self) -> Result<(), Ended> {
        if self.progress_at.elapsed() >= self.patience.give_up {
            return Err(self.gave_up());
        }
        let pause = pause_after(self.pauses, &self.patience).mul_f64(rand::random_range(0.5..=1.0));
        self.pauses = self.pauses.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.shutdown.cancelled() => Err(Ended::Shutdown),
        }
    }

    fn gave_up(&self) -> Ended {
        let advice = self.advice.into_iter().chain(self.old_servers.hint());
        let failure = advice.fold(self.last_failure.clone(), |text, advice| text + "; " + advice);
        Ended::GaveUp(self.patience.give_up, failure)
    }
}

/// The longest pause after so many earlier ones.
fn pause_after(pauses: u32, patience: &Patience) -> Duration {
    let factor = 2_u32.saturating_pow(pauses);
    patience.pause_min.saturating_mul(factor).min(patience.pause_max)
}

/// The word that a refusal's reason starts with.
#[must_use]
pub fn first_word(reason: &str) -> &str {
    reason.split([' ', ';', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let patience = Patience::default();
        let millis =
            [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|n| pause_after(n, &patience).as_millis());
        assert_eq!(millis, [100, 200, 400, 3200, 5000, 5000, 5000, 5000]);
    }

    #[test]
    fn a_reason_starts_with_its_word() {
        let words = ["agency 7 is unknown", "unknown packet", "busy", ""].map(first_word);
        assert_eq!(words, ["agency", "unknown", "busy", ""]);
    }
}
