//! The commit: how a group of batches, or of closes, gets into its log and is acknowledged.
//!
//! **Invariant**: a reply that rows are stored, or that an agency has closed, leaves only after
//! they are durable, whichever instance wrote them. After an error no reply has left.

use std::time::{Duration, Instant};

use journal::disk::Disk;
use lottery::Decision;
use protocol::AgencyId;

use super::error::StoreError;
use super::pending::{OwnedBatch, PendingBatch, PendingClose};
use super::volume::Volume;
use crate::store::{Appended, Closed};

/// A group that was committed.
#[derive(Debug)]
pub(super) struct Committed {
    /// The agencies of the batches that were new, one for each.
    pub(super) agencies: Vec<AgencyId>,
    /// How many bets were appended.
    pub(super) bets: u64,
    /// How many bytes were appended.
    pub(super) bytes: u64,
    /// How long the sync took, with what was done while the device worked.
    pub(super) sync_took: Duration,
}

/// Commits a group of batches, each whole or not at all, with one append and one sync.
pub(super) fn commit<D: Disk>(
    volume: &mut Volume<D>,
    group: &mut Vec<PendingBatch>,
    deadline: Instant,
) -> Result<Committed, StoreError> {
    // Before the lock, because most groups are stored whole.
    let mut rows = encode("", group.iter().map(|pending| &pending.request));
    // Locks, recovers and catches up.
    let mut locked = volume.lock(deadline)?;
    let (mut plan, separator) = (locked.state.plan(), locked.bets.separator());
    let decisions: Vec<_> = group.iter().map(|it| plan.decide(&it.request.head())).collect();
    if !separator.is_empty() || decisions.iter().any(|it| *it != Decision::Store) {
        let stored = group.iter().zip(&decisions).filter(|(_, it)| **it == Decision::Store);
        rows = encode(separator, stored.map(|(pending, _)| &pending.request));
    }
    if !rows.is_empty() {
        locked.bets.write_intent(&rows)?;
        locked.bets.append(&rows)?;
    }
    // Others wait for the locks, and what follows concerns this instance alone.
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
            new += bets.as_wire().len() as u64;
        }
        let (outcome, stored) = (decision.into_outcome(), volume.state.stored(*agency));
        answers.push(Appended { outcome, stored, is_new });
    }
    volume.bets.mark_applied();
    volume.bets.sync()?;
    let sync_took = since.elapsed();
    group.drain(..).zip(answers).for_each(|(pending, answer)| pending.answer(answer));
    Ok(Committed { agencies, bets: new, bytes: rows.len() as u64, sync_took })
}

/// The rows of these batches as they will stand in the log, behind the `separator`; nothing if
/// there are none.
fn encode<'b>(separator: &str, batches: impl Iterator<Item = &'b OwnedBatch> + Clone) -> Vec<u8> {
    let bytes = batches.clone().map(|batch| batch.bets.as_wire().rows_bytes_max()).sum::<usize>();
    let mut rows = Vec::with_capacity(separator.len() + bytes);
    for batch in batches {
        if rows.is_empty() {
            rows.extend_from_slice(separator.as_bytes());
        }
        batch.bets.as_wire().write_rows(batch.agency, &mut rows);
    }
    rows
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
