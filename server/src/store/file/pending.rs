//! A request in the queue, with where its reply goes.

use std::time::Instant;

use lottery::{AgencyStatus, BatchHead};
use protocol::{AgencyId, OwnedBets};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::queue::Queueable;
use crate::store::{Appended, Batch, Closed, Unavailable};

/// A batch whose packet is gone.
#[derive(Debug, Clone)]
pub(super) struct OwnedBatch {
    pub(super) agency: AgencyId,
    pub(super) first_row: Option<u64>,
    pub(super) bets: OwnedBets,
}

impl OwnedBatch {
    pub(super) fn head(&self) -> BatchHead {
        let rows = self.bets.as_wire().len() as u64;
        BatchHead { agency: self.agency, first_row: self.first_row, rows }
    }
}

impl From<&Batch<'_>> for OwnedBatch {
    fn from(batch: &Batch<'_>) -> Self {
        Self { agency: batch.agency, first_row: batch.first_row, bets: batch.bets.into() }
    }
}

/// A close, and how many rows the agency says it has, if it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Close {
    pub(super) agency: AgencyId,
    pub(super) declared: Option<u64>,
}

/// A request that waits for its reply.
pub(super) struct Pending<Q, A> {
    pub(super) request: Q,
    pub(super) reply: oneshot::Sender<A>,
    /// The request's share of the queue's bytes.
    pub(super) permit: OwnedSemaphorePermit,
}

impl<Q, A> Pending<Q, A> {
    pub(super) fn answer(self, answer: A) {
        drop(self.permit);
        // A caller that waits no more is no error: what was asked is done.
        let _ = self.reply.send(answer);
    }
}

pub(super) type PendingBatch = Pending<OwnedBatch, Appended>;
pub(super) type PendingClose = Pending<Close, Closed>;
pub(super) type PendingStatus = Pending<AgencyId, Result<AgencyStatus, Unavailable>>;
pub(super) type PendingLook = Pending<(), Result<bool, Unavailable>>;

/// What the store's thread is asked to do.
pub(super) enum Work {
    Append(PendingBatch),
    Close(PendingClose),
    Status(PendingStatus),
    Look(PendingLook),
}

/// Work in the queue.
pub(super) struct Queued {
    pub(super) since: Instant,
    pub(super) work: Work,
}

impl Queueable for Queued {
    fn agency(&self) -> Option<AgencyId> {
        match &self.work {
            Work::Append(pending) => Some(pending.request.agency),
            Work::Close(pending) => Some(pending.request.agency),
            Work::Status(_) | Work::Look(_) => None,
        }
    }

    fn may_wait(&self) -> bool {
        matches!(self.work, Work::Append(_))
    }
}
