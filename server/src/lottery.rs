//! Executing requests: from a [`Request`] to its answer, by way of the store.
//!
//! Sees no socket and no file. Logs what happened to bets, closes and winners, in the words of
//! the reference system.

use std::sync::Arc;

use protocol::{AgencyId, Outcome, PacketType, Refusal, Request, Response, WireBets};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::chat::Timeline;
use crate::store::{AgencyRows, AgencyStatus, Appended, Batch, Closed, Store};

/// What a connection does after a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Bets were stored, or an agency was closed. Sends this, if the packet has an answer.
    Stored(Option<Response>),
    /// Nothing was stored: it was a question, or refused, or could not be done, or was done earlier.
    /// Sends this, if the packet has an answer.
    Looked(Option<Response>),
    /// Closes: the packet has no answer, and the client must learn that it failed; or what became
    /// of it is unknown.
    HangUp,
}

/// The lottery, as one instance serves it. Cheap to clone.
#[derive(Clone)]
pub struct Lottery<S> {
    store: S,
    agencies_amount: u32,
    closed: Arc<Notify>,
    timeline: Timeline,
}

impl<S: Store> Lottery<S> {
    /// A lottery of the agencies 1..=`agencies_amount`.
    pub fn new(store: S, agencies_amount: u32) -> Self {
        Self { store, agencies_amount, closed: Arc::default(), timeline: Timeline::default() }
    }

    /// Tells whenever an agency has closed through this instance: the draw may be due.
    #[must_use]
    pub fn closed(&self) -> Arc<Notify> {
        Arc::clone(&self.closed)
    }

    /// What happens to the lottery, to be told to those who read messages.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline.clone()
    }

    /// Executes a request. Takes as long as it takes: a sync for a batch, until the draw for
    /// winners. The store is not asked about an agency that is not of this lottery.
    pub async fn execute(&self, request: Request<'_>) -> Answer {
        let agency = request.agency();
        if agency.get() > self.agencies_amount {
            let reason = format!("agency {agency} is not one of 1 to {}", self.agencies_amount);
            let packet = request.packet_type();
            warn!(action = "packet", result = "fail", packet = packet.name(), error = reason);
            return Answer::Looked(Some(packet.refuse(Refusal::Agency, reason)));
        }
        // Boxed, except for winners: each of the many connections that wait for the draw would
        // otherwise have room for everything that another request takes.
        match request {
            Request::StoreBet { bet, .. } => Box::pin(self.store(agency, None, bet, log_bet)).await,
            Request::StoreBatch { bets, .. } => {
                Box::pin(self.store(agency, None, bets, log_batch)).await
            }
            Request::StoreRows { first_row, bets, .. } => {
                Box::pin(self.store(agency, Some(first_row), bets, log_batch)).await
            }
            Request::AgencyClose { rows, .. } => Box::pin(self.close(agency, rows)).await,
            Request::AgencyStatus { .. } => Box::pin(self.status(agency)).await,
            Request::WinnersRequest { .. } => self.winners(agency).await,
        }
    }

    async fn store(
        &self,
        agency: AgencyId,
        first_row: Option<u64>,
        bets: WireBets<'_>,
        log: fn(AgencyId, WireBets<'_>, &Outcome),
    ) -> Answer {
        let batch = Batch { agency, first_row, bets };
        let Ok(Appended { outcome, stored, is_new }) = self.store.append(&batch).await else {
            return Answer::HangUp;
        };
        log(agency, bets, &outcome);
        let AgencyRows { rows, digest } = stored;
        answer_if(is_new)(Some(match first_row {
            Some(_) => Response::StoreRows { outcome, rows, digest },
            None => Response::Store { stored: outcome == Outcome::Done },
        }))
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Answer {
        let Ok(Closed { outcome, is_new }) = self.store.close(agency, rows).await else {
            return Answer::HangUp;
        };
        let agencia = agency.get();
        match fault(&outcome) {
            None => {
                info!(action = "agencia_cerrada", result = "success", agencia);
                self.closed.notify_one();
                self.timeline.closed(agency);
            }
            Some(error) => warn!(action = "agencia_cerrada", result = "fail", agencia, error),
        }
        let answer = answer_if(is_new);
        match (rows, outcome) {
            (Some(_), outcome) => answer(Some(Response::AgencyClose(outcome))),
            (None, Outcome::Done) => answer(None),
            (None, _) => Answer::HangUp,
        }
    }

    async fn status(&self, agency: AgencyId) -> Answer {
        Answer::Looked(Some(match self.store.status(agency).await {
            Ok(AgencyStatus { stored, state }) => {
                Response::AgencyStatus { rows: stored.rows, digest: stored.digest, state }
            }
            Err(unavailable) => {
                let agencia = agency.get();
                let error = unavailable.0.as_str();
                warn!(action = "agencia_consultada", result = "fail", agencia, error);
                Response::Error(format!("busy {unavailable}"))
            }
        }))
    }

    async fn winners(&self, agency: AgencyId) -> Answer {
        let mut draw = self.store.draw();
        let is_known = draw.borrow().is_some();
        // The day may have been put away since.
        if is_known && let Err(unavailable) = self.store.look().await {
            return Answer::Looked(Some(Response::Error(format!("busy {unavailable}"))));
        }
        let Ok(draw) = draw.wait_for(Option::is_some).await.map(|held| held.clone()) else {
            return Answer::HangUp;
        };
        let Some(winners) = draw.and_then(|draw| draw.winners(agency)) else {
            let reason = format!("agency {agency} took no part in the draw");
            let refused = PacketType::WinnersRequest.refuse(Refusal::Agency, reason);
            return Answer::Looked(Some(refused));
        };
        Answer::Looked(Some(Response::Winners(winners)))
    }
}

/// What kind of answer it is, if something was stored or if not.
fn answer_if(is_new: bool) -> fn(Option<Response>) -> Answer {
    if is_new { Answer::Stored } else { Answer::Looked }
}

/// What went wrong, in words; nothing if nothing did.
fn fault(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done => None,
        Outcome::TryAgain(reason) => Some(reason.clone()),
        Outcome::Refused(refusal, reason) => Some(format!("{refusal} {reason}")),
    }
}

fn log_bet(_: AgencyId, bet: WireBets<'_>, outcome: &Outcome) {
    let bet = bet.first();
    let (dni, numero) = (bet.document(), bet.number().get());
    match fault(outcome) {
        None => info!(action = "apuesta_almacenada", result = "success", dni, numero),
        Some(error) => warn!(action = "apuesta_almacenada", result = "fail", dni, numero, error),
    }
}

fn log_batch(agency: AgencyId, bets: WireBets<'_>, outcome: &Outcome) {
    let (cantidad, agencia) = (bets.len(), agency.get());
    match fault(outcome) {
        None => {
            let action = "apuestas_almacenadas";
            info!(action, result = "success", cantidad, json.agencia = agencia);
        }
        Some(error) => {
            warn!(action = "apuestas_almacenadas", result = "fail", cantidad, agencia, error);
        }
    }
}
