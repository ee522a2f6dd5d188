//! What the queue and the store's thread do, on a disk whose syncs are counted, held up, or fail.

use journal::disk::simulated::{DiskFault, Machine};
use protocol::{Outcome, WireBets};
use tokio::task::{JoinSet, yield_now};

use super::commit::commit;
use super::tests::{self, agency, deadline, settings};
use super::{FileStore, StoreEnd, StoreSettings};
use crate::metrics::Histogram;
use crate::store::{Batch, Store, Unknown, conformance};

const BET: &str = "Ana;Paz;D1;2000-01-01;7";

fn batch(first_row: u64) -> Batch<'static> {
    Batch { agency: agency(1), first_row: Some(first_row), bets: WireBets::parse(BET).unwrap() }
}

/// A client that is told "not stored" sends it again, and rows without a number would be doubled.
#[tokio::test]
async fn a_batch_whose_sync_failed_is_not_answered() {
    let machine = Machine::default();
    let (store, mut end) = FileStore::open_on(machine.process(), settings()).unwrap();
    assert_eq!(store.append(&batch(1)).await.unwrap().outcome, Outcome::Done);
    machine.only_syncs_fail();
    let now = machine.operations();
    (1..200).for_each(|ahead| machine.fail_at(now + ahead, DiskFault::Fail));
    let batch = batch(2);
    assert_eq!(store.append(&batch).await, Err(Unknown));
    assert!(end.wait().await.is_err());
    let late = store.append(&batch).await.unwrap().outcome;
    assert!(matches!(late, Outcome::TryAgain(_)), "nothing is taken any more: {late:?}");
}

#[tokio::test]
async fn what_is_stored_is_counted_once() {
    let machine = Machine::default();
    let (store, _end) = FileStore::open_on(machine.process(), settings()).unwrap();
    for _ in 0..2 {
        assert_eq!(store.append(&batch(1)).await.unwrap().outcome, Outcome::Done);
    }
    let metrics = store.metrics();
    assert_eq!((metrics.batches.get(), metrics.bets.get()), (1, 1));
    assert_eq!(metrics.bytes.get(), "1,Ana,Paz,D1,2000-01-01,7\n".len() as u64);
    let count = |histogram: &Histogram| histogram.buckets().iter().sum::<u64>();
    assert_eq!((count(&metrics.syncs), count(&metrics.lock_waits)), (1, 2));
    assert_eq!(metrics.queue_length.get(), 0);
}

/// What comes while the store's thread is at work shares the next lock, append and sync.
#[tokio::test]
async fn calls_that_wait_together_are_stored_together() {
    let machine = Machine::default();
    let (store, _end) = FileStore::open_on(machine.process(), settings()).unwrap();
    assert_eq!(store.append(&batch(1)).await.unwrap().outcome, Outcome::Done);
    let before = machine.operations();
    assert_eq!(store.append(&batch(2)).await.unwrap().outcome, Outcome::Done);
    let group = machine.operations() - before;

    let before = machine.operations();
    let held = machine.hold();
    let mut calls = JoinSet::new();
    for row in 3..=8 {
        let store = store.clone();
        calls.spawn(async move { store.append(&batch(row)).await });
    }
    while store.metrics().queue_length.get() < 6 {
        yield_now().await;
    }
    assert!(calls.try_join_next().is_none(), "stored on a disk that is held up");
    drop(held);
    let stored = calls.join_all().await;
    assert!(stored.iter().flatten().all(|appended| appended.outcome == Outcome::Done));
    let groups = (machine.operations() - before).div_ceil(group);
    assert!(groups <= 2, "six batches that waited together were {groups} groups");
}

#[test]
fn only_an_agency_that_stored_something_is_waited_for() {
    let mut volume = tests::open(&Machine::default());
    // Stored, the same again, beyond the next row, stored.
    for (first_row, is_new) in [(1, true), (1, false), (9, false), (2, true)] {
        let (mut group, _replies) = tests::pend(&[tests::batch(Some(first_row))]);
        let committed = commit(&mut volume, &mut group, deadline()).unwrap();
        assert_eq!(committed.agencies.len(), usize::from(is_new), "row {first_row}");
    }
}

/// The suite of every store, on whatever disk.
async fn conforms(open: impl Fn() -> (FileStore, StoreEnd)) {
    conformance::conforms(|| {
        let (store, mut end) = open();
        (store, Box::pin(async move { end.wait().await.unwrap() }))
    })
    .await;
}

#[tokio::test]
async fn it_is_a_store_on_the_simulated_disk() {
    let machine = Machine::default();
    conforms(|| FileStore::open_on(machine.process(), settings()).unwrap()).await;
}

#[tokio::test]
async fn it_is_a_store_on_a_real_disk() {
    let volume = tempfile::tempdir().unwrap();
    let leftover = "what an instance left that died, longer than a record".repeat(99);
    std::fs::write(volume.path().join("draw.json.tmp"), leftover).unwrap();
    let settings = || StoreSettings { volume: volume.path().into(), ..settings() };
    conforms(|| FileStore::open(settings()).unwrap()).await;
}
