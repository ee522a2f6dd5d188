//! The store's thread: takes groups of requests from the queue, carries them out, and answers.

use std::time::Instant;

use journal::disk::Disk;
use protocol::Outcome;

use super::commit::{Committed, commit, commit_closes};
use super::error::StoreError;
use super::look::look;
use super::outage::Progress;
use super::pending::{PendingBatch, PendingClose, PendingLook, PendingStatus, Queued, Work};
use super::queue::QueueReceiver;
use super::volume::Volume;
use crate::limits::SETTLE_TIMEOUT;
use crate::store::{Appended, Closed, Unavailable};

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
    queue: QueueReceiver<Queued>,
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
    queue: &QueueReceiver<Queued>,
    group: Group,
    deadline: Instant,
) -> Result<(), StoreError> {
    let Group { mut batches, statuses, mut closes, looks } = group;
    if !batches.is_empty() {
        let committed = commit(volume, &mut batches, deadline);
        let progress = |committed: &Committed| match committed.agencies.len() {
            0 => Progress::Locked,
            _ => Progress::Appended,
        };
        match volume.watch_outages(committed, progress)? {
            Ok(Committed { agencies, bets, bytes, sync_took }) => {
                if bytes > 0 {
                    volume.metrics.count_commit(agencies.len() as u64, bets, bytes, sync_took);
                }
                queue.stored(&agencies, sync_took);
            }
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
        let progress = |is_new: &bool| if *is_new { Progress::Appended } else { Progress::Locked };
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
