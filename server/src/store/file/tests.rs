//! What tests of the store on files share: a volume on a simulated disk, asked as the store's thread
//! asks it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::disk::simulated::{Machine, SimulatedDisk};
use protocol::{AgencyId, BetNumber, Outcome, WireBets};
use tokio::sync::{Semaphore, oneshot};

use super::commit::{Close, Group, OwnedBatch, Pending, serve};
use super::error::StoreError;
use super::queue::queue;
use super::settings::StoreSettings;
use super::volume::Volume;
use crate::store::{AgencyStatus, Appended, Batch, Closed, Unavailable};

pub(super) type SimulatedVolume = Volume<SimulatedDisk>;

pub(super) const BETS: &str = "/volume/bets.csv";
pub(super) const ROW: &str = "1,Ana,Paz,D1,2000-01-01,7\n";
const BET: &str = "Ana;Paz;D1;2000-01-01;7";

pub(super) fn settings() -> StoreSettings {
    StoreSettings {
        volume: "/volume".into(),
        agencies_amount: 2,
        winning_number: BetNumber::new(7).unwrap(),
        instance: "simulated".into(),
        lock_timeout: Duration::from_secs(5),
    }
}

pub(super) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

pub(super) fn agency(number: u32) -> AgencyId {
    AgencyId::new(number).unwrap()
}

pub(super) fn open(machine: &Machine) -> SimulatedVolume {
    Volume::open(machine.process(), settings()).unwrap()
}

/// Some of the same bet of agency 1, which wins.
pub(super) fn rows(first_row: Option<u64>, count: usize) -> OwnedBatch {
    let bets = vec![BET; count].join(":");
    let bets = WireBets::parse(&bets).unwrap();
    OwnedBatch::from(&Batch { agency: agency(1), first_row, bets })
}

/// One bet of agency 1, which wins.
pub(super) fn batch(first_row: Option<u64>) -> OwnedBatch {
    rows(first_row, 1)
}

pub(super) fn pend<Q: Clone, A>(requests: &[Q]) -> (Vec<Pending<Q, A>>, Vec<oneshot::Receiver<A>>) {
    let bytes = Arc::new(Semaphore::new(requests.len()));
    let pend = |request: &Q| {
        let permit = Arc::clone(&bytes).try_acquire_owned().unwrap();
        let (reply, replied) = oneshot::channel();
        (Pending { request: request.clone(), reply, permit }, replied)
    };
    requests.iter().map(pend).unzip()
}

/// Carries out a group as the store's thread does; every request of it is answered then, unless
/// something broke.
fn ask<A>(
    volume: &mut SimulatedVolume,
    group: Group,
    replies: Vec<oneshot::Receiver<A>>,
) -> Result<Vec<A>, StoreError> {
    serve(volume, &queue().1, group, deadline())?;
    Ok(replies.into_iter().map(|mut reply| reply.try_recv().expect("it is answered")).collect())
}

pub(super) fn append_group(
    volume: &mut SimulatedVolume,
    group: &[OwnedBatch],
) -> Result<Vec<Appended>, StoreError> {
    let (batches, replies) = pend(group);
    ask(volume, Group { batches, ..Group::default() }, replies)
}

pub(super) fn close_group(
    volume: &mut SimulatedVolume,
    group: &[Close],
) -> Result<Vec<Closed>, StoreError> {
    let (closes, replies) = pend(group);
    ask(volume, Group { closes, ..Group::default() }, replies)
}

pub(super) fn try_status(
    volume: &mut SimulatedVolume,
    agency: AgencyId,
) -> Result<Result<AgencyStatus, Unavailable>, StoreError> {
    let (statuses, replies) = pend(&[agency]);
    Ok(ask(volume, Group { statuses, ..Group::default() }, replies)?.remove(0))
}

pub(super) fn try_look(
    volume: &mut SimulatedVolume,
) -> Result<Result<bool, Unavailable>, StoreError> {
    let (looks, replies) = pend(&[()]);
    Ok(ask(volume, Group { looks, ..Group::default() }, replies)?.remove(0))
}

pub(super) fn append(volume: &mut SimulatedVolume, first_row: Option<u64>) -> Appended {
    append_group(volume, &[batch(first_row)]).unwrap().remove(0)
}

pub(super) fn status(volume: &mut SimulatedVolume, number: u32) -> AgencyStatus {
    try_status(volume, agency(number)).unwrap().unwrap()
}

pub(super) fn close(volume: &mut SimulatedVolume, number: u32, rows: Option<u64>) -> Outcome {
    let close = Close { agency: agency(number), declared: rows };
    close_group(volume, &[close]).unwrap().remove(0).outcome
}

pub(super) fn look(volume: &mut SimulatedVolume) -> bool {
    try_look(volume).unwrap().unwrap()
}

pub(super) fn content(machine: &Machine, path: &str) -> String {
    String::from_utf8(machine.content(Path::new(path)).unwrap()).unwrap()
}
