//! The store's thread: takes groups of requests from the queue, commits them, and answers.
//!
//! **Invariant**: a reply that rows are stored, or that an agency has closed, leaves only after
//! they are durable, whichever instance wrote them. If a commit fails, it has answered no request.

use std::time::{Duration, Instant};

use journal::disk::Disk;
use lottery::{AgencyStatus, BatchHead, Decision};
use protocol::{AgencyId, Outcome, OwnedBets};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::StoreError;
use super::look::look;
use super::outage::Progress;
use super::queue::{QueueReceiver, Queued};
use super::volume::Volume;
use crate::limits::SETTLE_TIMEOUT;
use crate::store::{Appended, Batch, Closed, Unavailable};

/// A batch whose packet is gone.
#[derive(Debug, Clone)]
pub(super) struct OwnedBatch {
    pub(super) agency: AgencyId,
    pub(super) first_row: Option<u64>,
    pub(super) bets: OwnedBets,
    /// The bets as they will stand in the log. The connections encode them, each its own, so that
    /// the store's thread does not do it for all.
    pub(super) rows: Vec<u8>,
}

impl OwnedBatch {
    pub(super) fn head(&self) -> BatchHead {
        let rows = self.bets.as_wire().len() as u64;
        BatchHead { agency: self.agency, first_row: self.first_row, rows }
    }
}

impl From<&Batch<'_>> for OwnedBatch {
    fn from(batch: &Batch<'_>) -> Self {
        let Batch { agency, first_row, bets } = *batch;
        let mut rows = Vec::with_capacity(bets.rows_bytes_max());
        bets.write_rows(agency, &mut rows);
        Self { agency, first_row, bets: bets.into(), rows }
    }
}

/// A close, and how many rows the agency says it has, if it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Close {
    pub(super) agency: AgencyId,
    pub(super) declared: Option<u64>,
}

/// A request in the queue, with where its reply goes.
pub(super) struct Pending<Q, A> {
    pub(super) request: Q,
    pub(super) reply: oneshot::Sender<A>,
    /// The request's share of the queue's bytes.
    pub(super) permit: OwnedSemaphorePermit,
}

impl<Q, A> Pending<Q, A> {
    pub(super) fn answer(self, answer: A) {
        drop(self.permit);
        // That its caller has gone is no error: the request is carried out.
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

impl Work {
    /// Whose rows or close it is, if it is one.
    pub(super) fn agency(&self) -> Option<AgencyId> {
        match self {
            Self::Append(pending) => Some(pending.request.agency),
            Self::Close(pending) => Some(pending.request.agency),
            Self::Status(_) | Self::Look(_) => None,
        }
    }
}

/// What waited in the queue together, by kind.
#[derive(Default)]
pub(super) struct Group {
    pub(super) batches: Vec<PendingBatch>,
    pub(super) statuses: Vec<PendingStatus>,
    pub(super) closes: Vec<PendingClose>,
    pub(super) looks: Vec<PendingLook>,
}

/// Works until every sender is gone, or something broke: what was not answered then is unknown.
pub(super) fn run<D: Disk>(
    mut volume: Volume<D>,
    queue: QueueReceiver<Work>,
) -> Result<(), StoreError> {
    while let Some(queued) = queue.next_group() {
        // The oldest request waits for no lock longer than the limit.
        let since = queued.first().map_or_else(Instant::now, |oldest| oldest.since);
        let deadline = since + volume.settings.lock_timeout;
        let mut group = Group::default();
        for Queued { work, .. } in queued {
            match work {
                Work::Append(pending) => group.batches.push(pending),
                Work::Status(pending) => group.statuses.push(pending),
                Work::Close(pending) => group.closes.push(pending),
                Work::Look(pending) => group.looks.push(pending),
            }
        }
        serve(&mut volume, &queue, group, deadline)?;
    }
    // Best left tidy, but right all the same: the next instance recovers what is pending.
    match volume.settle(Instant::now() + SETTLE_TIMEOUT / 2) {
        Err(error) if error.is_broken() => Err(error),
        _ => Ok(()),
    }
}

/// Carries out a group, one kind of request after the other.
pub(super) fn serve<D: Disk>(
    volume: &mut Volume<D>,
    queue: &QueueReceiver<Work>,
    group: Group,
    deadline: Instant,
) -> Result<(), StoreError> {
    let Group { mut batches, statuses, mut closes, looks } = group;
    if !batches.is_empty() {
        let committed = commit(volume, &mut batches, deadline);
        let progress = |it: &Committed| Progress::of(!it.agencies.is_empty());
        match volume.watch_outages(committed, progress)? {
            Ok(Committed { agencies, sync_took }) => queue.stored(&agencies, sync_took),
            Err(Unavailable(reason)) => batches.into_iter().for_each(|pending| {
                let stored = volume.state.stored(pending.request.agency);
                let outcome = Outcome::TryAgain(reason.clone());
                pending.answer(Appended { outcome, stored, is_new: false });
            }),
        }
    }
    if !statuses.is_empty() {
        let agencies: Vec<_> = statuses.iter().map(|pending| pending.request).collect();
        let status = volume.status(&agencies, deadline);
        match volume.watch_outages(status, |_| Progress::Locked)? {
            Ok(status) => {
                statuses.into_iter().zip(status).for_each(|(it, status)| it.answer(Ok(status)));
            }
            Err(error) => statuses.into_iter().for_each(|it| it.answer(Err(error.clone()))),
        }
    }
    if !closes.is_empty() {
        let closed = commit_closes(volume, &mut closes, deadline);
        let progress = |is_new: &bool| Progress::of(*is_new);
        if let Err(Unavailable(reason)) = volume.watch_outages(closed, progress)? {
            let closed = Closed { outcome: Outcome::TryAgain(reason), is_new: false };
            closes.into_iter().for_each(|pending| pending.answer(closed.clone()));
        }
    }
    if !looks.is_empty() {
        let looked = look(volume, deadline);
        let looked = volume.watch_outages(looked, |looked| looked.progress)?;
        let has_drawn = looked.map(|looked| looked.has_drawn);
        looks.into_iter().for_each(|pending| pending.answer(has_drawn.clone()));
    }
    Ok(())
}

/// A group that was committed.
#[derive(Debug)]
pub(super) struct Committed {
    /// The agencies of the batches that were new, one for each.
    pub(super) agencies: Vec<AgencyId>,
    /// How long the sync took, with what was done while the device worked.
    pub(super) sync_took: Duration,
}

/// Commits a group of batches, each whole or not at all, with one append and one sync.
pub(super) fn commit<D: Disk>(
    volume: &mut Volume<D>,
    group: &mut Vec<PendingBatch>,
    deadline: Instant,
) -> Result<Committed, StoreError> {
    let bytes = group.iter().map(|pending| pending.request.rows.len()).sum::<usize>();
    let mut rows = Vec::with_capacity(bytes + 1);
    // Locks, recovers and catches up.
    let mut locked = volume.lock(deadline)?;
    let mut plan = locked.state.plan();
    let decisions: Vec<_> = group.iter().map(|it| plan.decide(&it.request.head())).collect();
    for (pending, _) in group.iter().zip(&decisions).filter(|(_, it)| **it == Decision::Store) {
        let separator = if rows.is_empty() { locked.bets.separator() } else { "" };
        rows.extend_from_slice(separator.as_bytes());
        rows.extend_from_slice(&pending.request.rows);
    }
    if !rows.is_empty() {
        locked.bets.write_intent(&rows)?;
        locked.bets.append(&rows)?;
    }
    // Before the sync, so that other instances can append meanwhile.
    drop(locked);
    let since = Instant::now();
    volume.bets.start_sync()?;
    // The device works while the rows are applied.
    let (mut answers, mut agencies, mut new) = (Vec::with_capacity(group.len()), Vec::new(), 0);
    for (OwnedBatch { agency, bets, .. }, decision) in
        group.iter().map(|it| &it.request).zip(decisions)
    {
        let is_new = decision == Decision::Store;
        if is_new {
            volume.state.apply(*agency, &bets.as_wire());
            agencies.push(*agency);
            new += bets.as_wire().len();
        }
        let (outcome, stored) = (decision.into_outcome(), volume.state.stored(*agency));
        answers.push(Appended { outcome, stored, is_new });
    }
    volume.bets.mark_applied();
    volume.bets.sync()?;
    let sync_took = since.elapsed();
    volume.metrics.count_commit(agencies.len(), new, rows.len(), sync_took);
    group.drain(..).zip(answers).for_each(|(pending, answer)| pending.answer(answer));
    Ok(Committed { agencies, sync_took })
}

/// Commits a group of closes; returns whether any was new. Everything that is stored is durable
/// before a close is written.
pub(super) fn commit_closes<D: Disk>(
    volume: &mut Volume<D>,
    group: &mut Vec<PendingClose>,
    deadline: Instant,
) -> Result<bool, StoreError> {
    let mut locked = volume.lock(deadline)?;
    locked.bets.sync()?;
    let (mut plan, mut lines) = (locked.state.plan(), String::new());
    let mut decisions = Vec::with_capacity(group.len());
    for close in group.iter().map(|pending| pending.request) {
        let decision = plan.decide_close(close.agency, close.declared);
        if decision == Decision::Store {
            let separator = if lines.is_empty() { locked.closes.separator() } else { "" };
            lines += &format!("{separator}{}\n", close.agency);
        }
        decisions.push(decision);
    }
    if !lines.is_empty() {
        locked.closes.write_intent(lines.as_bytes())?;
        locked.closes.append(lines.as_bytes())?;
    }
    drop(locked);
    let new = group.iter().zip(&decisions).filter(|(_, it)| **it == Decision::Store);
    new.for_each(|(pending, _)| volume.state.close(pending.request.agency));
    volume.closes.mark_applied();
    volume.closes.sync()?;
    for (pending, decision) in group.drain(..).zip(decisions) {
        let is_new = decision == Decision::Store;
        pending.answer(Closed { outcome: decision.into_outcome(), is_new });
    }
    Ok(!lines.is_empty())
}
