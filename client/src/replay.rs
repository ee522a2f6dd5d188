//! The replay: from whatever is stored to an agency that has closed with all its rows.
//!
//! Every doubt is settled by asking what is stored: after a fault, a refusal or a restart the
//! next step follows from `AgencyStatus` and the file alone. So it is safe to be ended anywhere,
//! and to be started twice.
//!
//! **Invariant**: no packet is sent unless the rows stored before it are, by their digest, the
//! rows of the file.

use protocol::{AgencyState, Digest, Outcome, Refusal, Request, Response, write_rows_packet};
use tracing::{debug, info};

use crate::bets::{Batch, BatchLimits, Bets};
use crate::connection::Fault;
use crate::session::{Ended, Session, Status};

/// What is replayed.
#[derive(Debug, Clone, Copy)]
pub struct Work<'b> {
    /// The agency's bets.
    pub bets: &'b Bets,
    /// Where they are from, for people.
    pub source: &'b str,
    /// Whether they are one bet of the environment, which is logged as such.
    pub is_single: bool,
    /// What one packet may hold.
    pub limits: BatchLimits,
}

/// Whether a step was done, or what is stored must be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Done,
    AskAgain,
}

/// Stores what is not stored yet and closes the agency.
///
/// # Errors
/// See [`Ended`]; [`Ended::OldServers`] before anything was sent.
pub async fn replay(session: &mut Session, work: Work<'_>) -> Result<(), Ended> {
    let stored = Stored::new(work);
    Replay { session, work, stored, has_begun: false }.run().await
}

/// The rows that are known to be stored, and to be the file's.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'b> {
    bets: &'b Bets,
    source: &'b str,
    rows: u64,
    digest: Digest,
}

impl<'b> Stored<'b> {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(work: Work<'b>) -> Self {
        Self { bets: work.bets, source: work.source, rows: 0, digest: Digest::default() }
    }

    /// Takes note that `rows` rows with `digest` are stored, and gives how many of them are new.
    ///
    /// # Errors
    /// [`Ended::Conflict`]: they are not the file's, or rows that were stored are no longer.
    pub fn advance(&mut self, rows: u64, digest: Digest) -> Result<u64, Ended> {
        let (all, source) = (self.bets.rows(), self.source);
        let conflict = |what: String| {
            Err(Ended::Conflict(format!("{what}; nothing more is sent and nothing was changed")))
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
        let own = self.bets.fold(self.digest, self.rows, rows).unwrap_or_default();
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

    fn is_all(&self) -> bool {
        self.rows == self.bets.rows()
    }

    /// Checks that the agency may still send, or need not.
    fn check_state(&self, state: AgencyState) -> Result<(), Ended> {
        if state == AgencyState::Open || self.is_all() {
            return Ok(());
        }
        let (rows, all, source) = (self.rows, self.bets.rows(), self.source);
        Err(Ended::Conflict(format!(
            "{rows} rows are stored of the agency, which is {state}, and {source} has {all}: no \
             more can be sent; if the volume's files were changed since, bring them back"
        )))
    }

    /// Checks that all rows are stored and the agency has closed, as it had before.
    ///
    /// # Errors
    /// [`Ended::Conflict`]: it is not so any more.
    pub fn check_closed(&mut self, status: Status) -> Result<(), Ended> {
        self.advance(status.rows, status.digest)?;
        if status.state == AgencyState::Open {
            let what = "the agency had closed and is open again: its draw was archived meanwhile";
            return Err(Ended::Conflict(what.to_owned()));
        }
        self.check_state(status.state)
    }

    /// Checks that the draw whose winners were told was held over the file's rows, all of them and
    /// no others. Of a day that was put away since they were told nothing is to be learnt.
    ///
    /// # Errors
    /// [`Ended::Conflict`]: it was held over others.
    pub fn check_drawn(&mut self, status: Status) -> Result<(), Ended> {
        match status.state {
            AgencyState::Drawn => self.check_closed(status),
            AgencyState::Open | AgencyState::Closed => Ok(()),
        }
    }
}

struct Replay<'s, 'b> {
    session: &'s mut Session,
    work: Work<'b>,
    stored: Stored<'b>,
    has_begun: bool,
}

impl Replay<'_, '_> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let status = self.session.status().await?;
            self.advance(status.rows, status.digest)?;
            self.log_standing(status.state);
            self.stored.check_state(status.state)?;
            if status.state != AgencyState::Open {
                return Ok(());
            }
            if self.send_rows().await? == Step::Done && self.close().await? == Step::Done {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, rows: u64, digest: Digest) -> Result<(), Ended> {
        if self.stored.advance(rows, digest)? > 0 {
            self.session.progressed();
            self.session.bar().set_position(rows);
        }
        Ok(())
    }

    /// Says once where it starts from; later looks are for finding faults.
    fn log_standing(&mut self, state: AgencyState) {
        let (stored, all) = (self.stored.rows, self.work.bets.rows());
        let to_send = all - stored;
        if self.has_begun || stored == 0 {
            debug!(action = "resume", result = "success", stored, to_send, %state);
        } else {
            info!(action = "resume", result = "success", stored, to_send, %state);
        }
        self.has_begun = true;
    }

    async fn send_rows(&mut self) -> Result<Step, Ended> {
        let agency = self.session.agency();
        let mut packet = Vec::with_capacity(self.work.limits.bytes);
        while let Some(batch) = self.work.bets.batch(self.stored.rows + 1, self.work.limits) {
            packet.clear();
            write_rows_packet(agency, Some(batch.first_row), batch.wire, &mut packet);
            if self.send(&packet, batch).await? == Step::AskAgain {
                return Ok(Step::AskAgain);
            }
        }
        Ok(Step::Done)
    }

    async fn send(&mut self, packet: &[u8], batch: Batch<'_>) -> Result<Step, Ended> {
        match self.session.ask(packet).await? {
            Ok(Response::StoreRows { outcome: Outcome::Done, rows, digest })
                if rows >= batch.last_row() =>
            {
                self.advance(rows, digest)?;
                log_sent(self.session, batch, self.work.is_single);
                return Ok(Step::Done);
            }
            Ok(Response::StoreRows { outcome: Outcome::TryAgain(reason), .. }) => {
                self.session.not_done(Fault::Busy(reason)).await?;
            }
            Ok(Response::StoreRows { outcome: Outcome::Refused(refusal, reason), .. }) => {
                self.refused(refusal, reason).await?;
            }
            Ok(Response::Error(reason)) => self.session.leave(&Fault::Busy(reason)),
            Ok(other) => self.session.leave(&Fault::nonsense(&other)),
            Err(_) => {}
        }
        Ok(Step::AskAgain)
    }

    async fn close(&mut self) -> Result<Step, Ended> {
        let (agency, rows) = (self.session.agency(), self.stored.rows);
        let mut packet = Vec::new();
        Request::AgencyClose { agency, rows: Some(rows) }.write(&mut packet);
        match self.session.ask(&packet).await? {
            Ok(Response::AgencyClose(Outcome::Done)) => {
                self.session.progressed();
                log_closed(self.session, rows);
                return Ok(Step::Done);
            }
            Ok(Response::AgencyClose(Outcome::TryAgain(reason))) => {
                self.session.not_done(Fault::Busy(reason)).await?;
            }
            Ok(Response::AgencyClose(Outcome::Refused(refusal, reason))) => {
                self.refused(refusal, reason).await?;
            }
            Ok(Response::Error(reason)) => self.session.leave(&Fault::Busy(reason)),
            Ok(other) => self.session.leave(&Fault::nonsense(&other)),
            Err(_) => {}
        }
        Ok(Step::AskAgain)
    }

    /// Of what a look at the status may explain, that look decides; a pause keeps two clients of
    /// one agency from asking each other out of breath.
    async fn refused(&mut self, refusal: Refusal, reason: String) -> Result<(), Ended> {
        let told = format!("{refusal} {reason}");
        match refusal {
            Refusal::Agency | Refusal::Invalid => Err(Ended::refused(&told)),
            Refusal::Short => Err(Ended::Conflict(format!("the close was refused: {told}"))),
            Refusal::Closed | Refusal::Drawn | Refusal::Gap | Refusal::Overlap => {
                let next = "asks what is stored";
                self.session.bar().suspend(|| {
                    info!(action = "apuestas_enviadas", result = "fail", error = told, next);
                });
                self.session.pause().await
            }
        }
    }
}

/// Logs a batch as stored, in the reference's words.
pub(crate) fn log_sent(session: &Session, batch: Batch<'_>, is_single: bool) {
    let cantidad = batch.rows;
    session.bar().suspend(|| {
        if is_single {
            let mut fields = batch.wire.rsplit(';');
            let numero = fields.next().unwrap_or_default();
            let dni = fields.nth(1).unwrap_or_default();
            info!(action = "apuesta_enviada", result = "success", dni, numero);
        } else {
            info!(action = "apuestas_enviadas", result = "success", cantidad);
        }
    });
}

/// Logs the close.
pub(crate) fn log_closed(session: &Session, rows: u64) {
    let cantidad = rows;
    session.bar().suspend(|| info!(action = "agencia_cerrada", result = "success", cantidad));
}
