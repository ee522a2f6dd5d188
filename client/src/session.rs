//! One agency's session with the servers: each packet goes to an instance that takes it, in bounded
//! time.
//!
//! Owns the connection, the choice of the next instance, the pauses after failures and the time
//! limit over all instances. Decides whether an answer belongs to the packet, not what follows from
//! it.
//!
//! **Invariant**: after a failed exchange the connection is dropped, so that a late answer is never
//! taken for the answer to a later packet.

mod agency_status;

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::ProgressBar;
use protocol::limits::LINE_BYTES_MAX;
use protocol::{AgencyId, AgencyState, Digest, Request, Response};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::endpoints::{Choice, Endpoints};
use crate::legacy_detection::LegacyDetection;
use crate::limits::BUSY_ANSWERS_MAX;
use crate::server_connection::{ExchangeError, ServerConnection};
use crate::settings::{Config, Timeouts};

/// Why a session ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A signal ended it.
    #[error("a signal ended it; run it again, it continues from here")]
    Shutdown,
    /// There was no progress for too long.
    #[error(
        "no progress in {0:?} (CLI_GIVE_UP_AFTER) at any server of CLI_SERVER_ADDRESS; the last \
         failure: {1}; run the client again when that is repaired"
    )]
    GaveUp(Duration, String),
    /// The stored rows are not the first rows of this agency's file.
    #[error("conflict: {0}")]
    Conflict(String),
    /// A server refused, and trying again will not help.
    #[error("refused: {0}")]
    Refused(String),
    /// The servers are legacy servers.
    #[error("the servers do not know AgencyStatus")]
    LegacyServers,
}

impl SessionError {
    /// The error for a refusal with this reason. The reason's first word is for programs, so it is
    /// left out where the text repeats it.
    #[must_use]
    pub fn refused(reason: &str) -> Self {
        let word = first_word(reason);
        let text = reason.strip_prefix(word).unwrap_or_default().trim_start();
        let text = if text.starts_with(word) { text } else { reason };
        Self::Refused(match word {
            "agency" => format!("{text} (is CLI_ID beyond the servers' AGENCIES_AMOUNT?)"),
            _ => text.to_owned(),
        })
    }
}

/// A server's answer about the agency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// How many rows are stored.
    pub rows: u64,
    /// Their digest.
    pub digest: Digest,
    /// Whether the agency is open, has closed, or is part of a draw.
    pub state: AgencyState,
}

/// An answer, or why there is none. After an error the session has left the instance.
pub type Answer = Result<Response, ExchangeError>;

/// One agency's session; see the module.
#[derive(Debug)]
pub struct Session {
    agency: AgencyId,
    timeouts: Timeouts,
    endpoints: Endpoints,
    connection: Option<ServerConnection>,
    /// The instance of the last connection or attempt to connect.
    last_address: Option<SocketAddr>,
    uses_connection_per_packet: bool,
    shutdown: CancellationToken,
    bar: ProgressBar,
    /// When the last progress was made.
    progress_at: Instant,
    last_failure: String,
    /// What to tell a person if the last failure lasts.
    advice: Option<&'static str>,
    /// The number of consecutive pauses, from which the next pause's length follows.
    pauses: u32,
    /// The number of consecutive answers that the instance could not execute the request.
    busy_answers: u32,
    legacy_detection: LegacyDetection,
}

impl Session {
    /// A session of `agency` with the servers of `config` that ends early at `shutdown`. Log lines
    /// suspend `bar` while they are printed.
    #[must_use]
    pub fn new(
        config: &Config,
        agency: AgencyId,
        shutdown: CancellationToken,
        bar: ProgressBar,
    ) -> Self {
        let timeouts = config.timeouts;
        Self {
            agency,
            timeouts,
            endpoints: Endpoints::new(config.servers.0.clone(), agency),
            connection: None,
            last_address: None,
            uses_connection_per_packet: false,
            shutdown,
            bar,
            progress_at: Instant::now(),
            last_failure: "none".to_owned(),
            advice: None,
            pauses: 0,
            busy_answers: 0,
            legacy_detection: LegacyDetection::new(
                config.is_fallback_allowed,
                timeouts.legacy_detection,
            ),
        }
    }

    /// The agency of the session.
    #[must_use]
    pub fn agency(&self) -> AgencyId {
        self.agency
    }

    /// The progress bar, which may be hidden.
    #[must_use]
    pub fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Notes progress: the time limit starts again, and earlier failures are forgotten.
    pub fn note_progress(&mut self) {
        self.progress_at = Instant::now();
        self.pauses = 0;
        self.busy_answers = 0;
        self.endpoints.clear_failures();
    }

    /// Notes that a server is reachable while there is nothing to do but wait: the time limit
    /// starts again.
    pub fn note_reachable(&mut self) {
        self.progress_at = Instant::now();
    }

    /// Sends `packet` to an instance and returns its answer. If the exchange fails, the failure is
    /// logged and the instance left; the packet may have been executed or not.
    ///
    /// # Errors
    /// No instance was reachable for too long, or a signal ended the session.
    pub async fn ask(&mut self, packet: &[u8]) -> Result<Answer, SessionError> {
        self.connect().await?;
        let answer = self.exchange(packet, self.timeouts.answer, LINE_BYTES_MAX).await;
        Ok(answer.inspect_err(|error| self.leave_server(error)))
    }

    /// As [`Session::ask`] with the packet `WinnersRequest`, whose answer may take hours and have
    /// `bytes_max` bytes. After [`Timeouts::winners`] the session leaves the instance for another.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn ask_for_winners(&mut self, bytes_max: usize) -> Result<Answer, SessionError> {
        let mut packet = Vec::new();
        Request::WinnersRequest { agency: self.agency }.write(&mut packet);
        self.connect().await?;
        let (shutdown, limit) = (self.shutdown.clone(), self.timeouts.winners);
        let answer = tokio::select! {
            answer = self.exchange(&packet, limit, bytes_max) => answer,
            () = shutdown.cancelled() => return Err(SessionError::Shutdown),
        };
        match &answer {
            // The draw may simply not be held yet, so this is not a failure.
            Err(ExchangeError::AnswerTimeout(_)) => {
                let (seconds, next) = (limit.as_secs(), "asks another server");
                self.bar.suspend(|| {
                    info!(action = "consulta_ganadores", result = "in_progress", seconds, next);
                });
                self.drop_connection();
                self.pauses = 0;
            }
            Err(error) => self.leave_server(error),
            Ok(_) => {}
        }
        Ok(answer)
    }

    /// Sends `packet`, which has no answer, and waits until the instance has read it.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn send_without_answer(
        &mut self,
        packet: &[u8],
    ) -> Result<Result<(), ExchangeError>, SessionError> {
        self.connect().await?;
        let limit = self.timeouts.answer;
        let sent = match self.connection.take() {
            Some(mut connection) => match connection.send(packet, limit).await {
                Ok(()) => connection.finish(limit).await,
                Err(error) => Err(error),
            },
            None => Err(ExchangeError::Closed),
        };
        Ok(sent.inspect_err(|error| self.leave_server(error)))
    }

    async fn exchange(&mut self, packet: &[u8], first: Duration, bytes_max: usize) -> Answer {
        let limit = self.timeouts.answer;
        let Some(connection) = &mut self.connection else { return Err(ExchangeError::Closed) };
        connection.send(packet, limit).await?;
        connection.receive(first, limit, bytes_max).await
    }

    /// Notes an answer that the request was not executed, and pauses. After [`BUSY_ANSWERS_MAX`]
    /// consecutive ones the session leaves the instance instead.
    ///
    /// # Errors
    /// As [`Session::pause`].
    pub async fn retry_later(&mut self, error: ExchangeError) -> Result<(), SessionError> {
        self.busy_answers += 1;
        if self.busy_answers.is_multiple_of(BUSY_ANSWERS_MAX) {
            self.leave_server(&error);
            return Ok(());
        }
        let next = match self.uses_connection_per_packet {
            true => "a new connection",
            false => "the same server again",
        };
        self.warn("answer", &error, next);
        self.pause().await
    }

    /// Drops the connection, and tries its instance again only after all others.
    pub fn leave_server(&mut self, error: &ExchangeError) {
        let next = match self.endpoints.known().len() {
            0 | 1 => "a new connection",
            _ => "another server",
        };
        self.warn("connection", error, next);
        self.drop_connection();
    }

    /// Closes the connection, if there is one. The next packet opens a new one.
    pub fn close_connection(&mut self) {
        self.connection = None;
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        if let Some(address) = self.last_address {
            self.endpoints.note_failure(address);
        }
    }

    fn warn(&mut self, action: &str, error: &ExchangeError, next: &str) {
        let address = self.last_address.map(|address| address.to_string());
        self.last_failure = match &address {
            Some(address) => format!("{address}: {error}"),
            None => error.to_string(),
        };
        self.advice = error.advice();
        let address = address.unwrap_or_else(|| "none".to_owned());
        self.bar.suspend(|| warn!(action, result = "fail", address, %error, next));
    }

    /// Connects to an instance, unless there is a connection.
    async fn connect(&mut self) -> Result<(), SessionError> {
        while self.connection.is_none() {
            if self.shutdown.is_cancelled() {
                return Err(SessionError::Shutdown);
            }
            let limit = self.timeouts.connect;
            let choice = timeout(limit, self.endpoints.next()).await;
            match choice.unwrap_or_else(|_| Err(self.endpoints.look_up_timed_out(limit))) {
                Ok(choice) => self.connect_to(choice).await?,
                Err(error) => {
                    self.last_address = None;
                    self.legacy_detection.reset();
                    self.warn("look_up", &ExchangeError::Io(error), "the same names again");
                    self.pause().await?;
                }
            }
        }
        if self.shutdown.is_cancelled() { Err(SessionError::Shutdown) } else { Ok(()) }
    }

    async fn connect_to(&mut self, choice: Choice) -> Result<(), SessionError> {
        if choice.is_new_round {
            self.pause().await?;
        }
        let address = choice.address;
        self.last_address = Some(address);
        match ServerConnection::open(address, self.timeouts.connect).await {
            Ok(connection) => {
                self.connection = Some(connection);
                if self.uses_connection_per_packet {
                    // One line for each packet would be too many.
                    debug!(action = "connect", result = "success", %address);
                } else {
                    self.bar.suspend(|| info!(action = "connect", result = "success", %address));
                }
            }
            Err(error) => {
                self.legacy_detection.note_error(address, &error);
                let next = match self.endpoints.known().len() {
                    0 | 1 => "the same server",
                    _ => "another server",
                };
                self.warn("connect", &error, next);
            }
        }
        Ok(())
    }

    /// Sets whether each packet has its own connection from now on.
    pub fn set_connection_per_packet(&mut self, is_so: bool) {
        self.uses_connection_per_packet = is_so;
        self.close_connection();
    }

    /// Waits for a random time, which grows with each consecutive pause.
    ///
    /// # Errors
    /// There was no progress for too long, or a signal ended the session.
    pub async fn pause(&mut self) -> Result<(), SessionError> {
        let give_up = self.timeouts.give_up;
        if self.progress_at.elapsed() >= give_up {
            let advice = self.advice.into_iter().chain(self.legacy_detection.hint());
            let failure = advice.fold(self.last_failure.clone(), |text, more| text + "; " + more);
            return Err(SessionError::GaveUp(give_up, failure));
        }
        let pause = pause_max(self.pauses, &self.timeouts).mul_f64(rand::random_range(0.5..=1.0));
        self.pauses = self.pauses.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.shutdown.cancelled() => Err(SessionError::Shutdown),
        }
    }
}

/// The longest pause after `pauses` consecutive ones.
fn pause_max(pauses: u32, timeouts: &Timeouts) -> Duration {
    let factor = 2_u32.saturating_pow(pauses);
    timeouts.pause_min.saturating_mul(factor).min(timeouts.pause_max)
}

/// The word with which a refusal's reason starts.
#[must_use]
pub fn first_word(reason: &str) -> &str {
    reason.split([' ', ';', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let timeouts = Timeouts::default();
        let millis = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|n| pause_max(n, &timeouts).as_millis());
        assert_eq!(millis, [100, 200, 400, 3200, 5000, 5000, 5000, 5000]);
    }

    #[test]
    fn a_reason_starts_with_its_word() {
        let words = ["agency 7 is unknown", "unknown packet", "busy", ""].map(first_word);
        assert_eq!(words, ["agency", "unknown", "busy", ""]);
    }
}
