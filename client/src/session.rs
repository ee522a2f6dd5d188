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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::bets::BatchLimits;
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
    /// The agency of the session.
    pub agency: AgencyId,
    /// The limits of one packet.
    pub limits: BatchLimits,
    /// The progress bar, which is hidden at first. It is shown only where nothing less serious than
    /// a warning is logged, so only warnings suspend it while they are printed.
    pub bar: ProgressBar,
    timeouts: Timeouts,
    endpoints: Endpoints,
    connection: Option<ServerConnection>,
    /// The instance of the last connection or attempt to connect.
    last_address: Option<SocketAddr>,
    uses_connection_per_packet: bool,
    shutdown: CancellationToken,
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
    /// A session of `agency` with the servers of `config` that ends early at `shutdown`.
    #[must_use]
    pub fn new(config: &Config, agency: AgencyId, shutdown: CancellationToken) -> Self {
        let timeouts = config.timeouts;
        Self {
            agency,
            limits: config.limits,
            bar: ProgressBar::hidden(),
            timeouts,
            endpoints: Endpoints::new(config.servers.clone(), agency).preferring(config.prefer),
            connection: None,
            last_address: None,
            uses_connection_per_packet: false,
            shutdown,
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

    /// Notes progress: the time limit starts again, and earlier failures are forgotten.
    pub fn note_progress(&mut self) {
        self.progress_at = Instant::now();
        self.pauses = 0;
        self.busy_answers = 0;
        self.endpoints.clear_all_tried();
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
                info!(action = "consulta_ganadores", result = "in_progress", seconds, next);
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
        let connection = self.connection.take();
        let sent = async {
            let mut connection = connection.ok_or(ExchangeError::Closed)?;
            connection.send(packet, limit).await?;
            connection.finish(limit).await
        };
        Ok(sent.await.inspect_err(|error| self.leave_server(error)))
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
        self.warn("connection", error, self.next_server("a new connection"));
        self.drop_connection();
    }

    /// What is tried next; `alone` if there is only one server.
    fn next_server(&self, alone: &'static str) -> &'static str {
        if self.endpoints.known().len() > 1 { "another server" } else { alone }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        if let Some(address) = self.last_address {
            self.endpoints.note_tried(address);
        }
    }

    fn warn(&mut self, action: &str, error: &ExchangeError, next: &str) {
        let (address, failure) = match self.last_address {
            Some(address) => (address.to_string(), format!("{address}: {error}")),
            None => ("none".to_owned(), error.to_string()),
        };
        (self.last_failure, self.advice) = (failure, error.advice());
        self.bar.suspend(|| warn!(action, result = "fail", address, %error, next));
    }

    /// Connects to an instance, unless there is a connection.
    async fn connect(&mut self) -> Result<(), SessionError> {
        loop {
            if self.shutdown.is_cancelled() {
                return Err(SessionError::Shutdown);
            }
            if self.connection.is_some() {
                return Ok(());
            }
            match self.endpoints.next(self.timeouts.connect).await {
                Ok(choice) => self.connect_to(choice).await?,
                Err(error) => {
                    self.last_address = None;
                    self.legacy_detection.reset();
                    self.warn("look_up", &ExchangeError::Io(error), "the same names again");
                    self.pause().await?;
                }
            }
        }
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
                    info!(action = "connect", result = "success", %address);
                }
            }
            Err(error) => {
                self.legacy_detection.note_error(address, &error);
                self.warn("connect", &error, self.next_server("the same server"));
            }
        }
        Ok(())
    }

    /// Sets whether each packet has its own connection from now on.
    pub fn set_connection_per_packet(&mut self, is_so: bool) {
        self.uses_connection_per_packet = is_so;
        self.connection = None;
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
        let Timeouts { pause_min, pause_max, .. } = self.timeouts;
        let pause = pause(self.pauses, pause_min, pause_max);
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
        self.pauses = self.pauses.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.shutdown.cancelled() => Err(SessionError::Shutdown),
        }
    }
}

/// The pause after `pauses` consecutive ones: `least`, doubled each time, up to `most`.
fn pause(pauses: u32, least: Duration, most: Duration) -> Duration {
    least.saturating_mul(2_u32.saturating_pow(pauses)).min(most)
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
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let millis = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|n| pause(n, least, most).as_millis());
        assert_eq!(millis, [100, 200, 400, 3200, 5000, 5000, 5000, 5000]);
    }
}
