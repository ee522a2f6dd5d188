//! The replay: sends what is not stored yet, until the agency has closed with all its rows.
//!
//! After each failure, refusal or restart the next step follows from `AgencyStatus` and the file
//! alone. So a client may be killed at any time, and may run twice at once.
//!
//! **Invariant**: a packet is sent only if the stored rows before it are, by their digest, the
//! first rows of the file.

use protocol::{AgencyState, Digest, Outcome, Refusal, Request, Response, write_rows_packet};
use tracing::{debug, info};

use crate::bets::Batch;
use crate::input::Input;
use crate::server_connection::ExchangeError;
use crate::session::{Answer, Session, SessionError, Status};

/// Whether a step succeeded, or the status must be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    AskAgain,
}

/// Stores what is not stored yet and closes the agency.
///
/// # Errors
/// See [`SessionError`]. After [`SessionError::LegacyServers`] nothing was sent.
pub async fn replay(session: &mut Session, input: &Input) -> Result<(), SessionError> {
    let stored = StoredRows::new(input);
    Replay { session, stored, has_begun: false }.run().await
}

/// The rows that are known to be stored, and that are the first rows of the file.
#[derive(Debug, Clone, Copy)]
pub struct StoredRows<'b> {
    /// The agency's bets.
    pub input: &'b Input,
    rows: u64,
    digest: Digest,
}

impl<'b> StoredRows<'b> {
    /// No row is known to be stored yet.
    #[must_use]
    pub fn new(input: &'b Input) -> Self {
        Self { input, rows: 0, digest: Digest::default() }
    }

    /// Notes that `rows` rows with `digest` are stored, and returns how many of them are new.
    ///
    /// # Errors
    /// [`SessionError::Conflict`] if they are not the first rows of the file, or if rows that were
    /// stored are not stored any more.
    pub fn advance(&mut self, rows: u64, digest: Digest) -> Result<u64, SessionError> {
        let Input { bets, source, .. } = self.input;
        let all = bets.rows();
        let conflict = |what: String| {
            let nothing = "nothing more is sent and nothing was changed";
            Err(SessionError::Conflict(format!("{what}; {nothing}")))
        };
        if rows > all {
            return conflict(format!(
                "{rows} rows are stored for this agency, and {source} has {all}: it was cut since \
                 it was sent, or another file was sent; send the one that was sent first"
            ));
        }
        if rows < self.rows {
            let acknowledged = self.rows;
            return conflict(format!(
                "{acknowledged} rows were stored for this agency and now {rows} are: the volume \
                 was changed or its draw archived meanwhile"
            ));
        }
        let own = bets.fold(self.digest, self.rows, rows).unwrap_or_default();
        if own != digest {
            return conflict(format!(
                "the {rows} rows that are stored for this agency are not the first {rows} of \
                 {source}: it was edited since it was sent, or another file was sent; send the one \
                 that was sent first"
            ));
        }
        let new = rows - self.rows;
        (self.rows, self.digest) = (rows, digest);
        Ok(new)
    }

    /// Checks that the agency is open or that all its rows are stored.
    fn check_state(&self, state: AgencyState) -> Result<(), SessionError> {
        let (rows, all, source) = (self.rows, self.input.bets.rows(), &self.input.source);
        if state == AgencyState::Open || rows == all {
            return Ok(());
        }
        Err(SessionError::Conflict(format!(
            "{rows} rows are stored of the agency, which is {state}, and {source} has {all}: no \
             more can be sent; if the volume's files were changed since, bring them back"
        )))
    }

    /// Checks that all rows are still stored and that the agency is still closed.
    ///
    /// # Errors
    /// [`SessionError::Conflict`] if not.
    pub fn check_closed(&mut self, status: Status) -> Result<(), SessionError> {
        self.advance(status.rows, status.digest)?;
        if status.state == AgencyState::Open {
            let what = "the agency had closed and is open again: its draw was archived meanwhile";
            return Err(SessionError::Conflict(what.to_owned()));
        }
        self.check_state(status.state)
    }

    /// Checks that the draw was held over exactly the file's rows. If the day was archived since
    /// the winners were received, the status is that of the next day and says nothing about it.
    ///
    /// # Errors
    /// [`SessionError::Conflict`] if the draw was held over other rows.
    pub fn check_drawn(&mut self, status: Status) -> Result<(), SessionError> {
        match status.state {
            AgencyState::Drawn => self.check_closed(status),
            AgencyState::Open | AgencyState::Closed => Ok(()),
        }
    }
}

struct Replay<'s, 'b> {
    session: &'s mut Session,
    stored: StoredRows<'b>,
    has_begun: bool,
}

impl Replay<'_, '_> {
    async fn run(&mut self) -> Result<(), SessionError> {
        loop {
            let status = self.session.status().await?;
            self.advance(status.rows, status.digest)?;
            self.log_resume(status.state);
            self.stored.check_state(status.state)?;
            if status.state != AgencyState::Open {
                return Ok(());
            }
            if self.send_rows().await? == Step::Done && self.close().await? == Step::Done {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, rows: u64, digest: Digest) -> Result<(), SessionError> {
        if self.stored.advance(rows, digest)? > 0 {
            self.session.note_progress();
            self.session.bar.set_position(rows);
        }
        Ok(())
    }

    /// Only the first status is for people: later ones belong to failures that are logged.
    fn log_resume(&mut self, state: AgencyState) {
        let (stored, all) = (self.stored.rows, self.stored.input.bets.rows());
        let to_send = all - stored;
        if self.has_begun || stored == 0 {
            debug!(action = "resume", result = "success", stored, to_send, %state);
        } else {
            info!(action = "resume", result = "success", stored, to_send, %state);
        }
        self.has_begun = true;
    }

    async fn send_rows(&mut self) -> Result<Step, SessionError> {
        let Session { agency, limits, .. } = *self.session;
        let mut packet = Vec::with_capacity(limits.bytes);
        while let Some(batch) = self.stored.input.bets.batch(self.stored.rows + 1, limits) {
            packet.clear();
            write_rows_packet(agency, Some(batch.first_row), batch.wire, &mut packet);
            if self.send(&packet, batch).await? == Step::AskAgain {
                return Ok(Step::AskAgain);
            }
        }
        Ok(Step::Done)
    }

    async fn send(&mut self, packet: &[u8], batch: Batch<'_>) -> Result<Step, SessionError> {
        match self.session.ask(packet).await? {
            Ok(Response::StoreRows { outcome: Outcome::Done, rows, digest })
                if rows >= batch.last_row() =>
            {
                self.advance(rows, digest)?;
                log_sent(batch, self.stored.input.is_single);
                Ok(Step::Done)
            }
            Ok(Response::StoreRows { outcome, .. }) if outcome != Outcome::Done => {
                self.not_done(outcome).await
            }
            other => Ok(self.no_answer(other)),
        }
    }

    async fn close(&mut self) -> Result<Step, SessionError> {
        let (agency, rows) = (self.session.agency, self.stored.rows);
        let mut packet = Vec::new();
        Request::AgencyClose { agency, rows: Some(rows) }.write(&mut packet);
        match self.session.ask(&packet).await? {
            Ok(Response::AgencyClose(Outcome::Done)) => {
                self.session.note_progress();
                log_closed(rows);
                Ok(Step::Done)
            }
            Ok(Response::AgencyClose(outcome)) => self.not_done(outcome).await,
            other => Ok(self.no_answer(other)),
        }
    }

    /// Most refusals follow from a status that this client did not know, so it asks again. The
    /// pause prevents two clients of one agency from refusing each other without end.
    async fn not_done(&mut self, outcome: Outcome) -> Result<Step, SessionError> {
        match outcome {
            Outcome::Done => return Ok(Step::Done),
            Outcome::TryAgain(reason) => {
                self.session.retry_later(ExchangeError::Busy(reason)).await?;
            }
            Outcome::Refused(refusal, reason) => {
                let error = format!("{refusal} {reason}");
                match refusal {
                    Refusal::Agency | Refusal::Invalid => {
                        return Err(SessionError::refused(&error));
                    }
                    Refusal::Short => {
                        let error = format!("the close was refused: {error}");
                        return Err(SessionError::Conflict(error));
                    }
                    Refusal::Closed | Refusal::Drawn | Refusal::Gap | Refusal::Overlap => {
                        let next = "asks what is stored";
                        info!(action = "apuestas_enviadas", result = "fail", error, next);
                        self.session.pause().await?;
                    }
                }
            }
        }
        Ok(Step::AskAgain)
    }

    fn no_answer(&mut self, answer: Answer) -> Step {
        match answer {
            Ok(Response::Error(reason)) => self.session.leave_server(&ExchangeError::Busy(reason)),
            Ok(other) => self.session.leave_server(&ExchangeError::unexpected(&other)),
            // The session has left the server already.
            Err(_) => {}
        }
        Step::AskAgain
    }
}

/// Logs a stored batch with the reference's action and fields.
pub(crate) fn log_sent(batch: Batch<'_>, is_single: bool) {
    if is_single {
        let mut fields = batch.wire.rsplit(';');
        let numero = fields.next().unwrap_or_default();
        let dni = fields.nth(1).unwrap_or_default();
        info!(action = "apuesta_enviada", result = "success", dni, numero);
    } else {
        info!(action = "apuestas_enviadas", result = "success", cantidad = batch.rows);
    }
}

/// Logs the close.
pub(crate) fn log_closed(rows: u64) {
    info!(action = "agencia_cerrada", result = "success", cantidad = rows);
}
