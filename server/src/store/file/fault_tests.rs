//! Every fault at every operation of a run with two instances, closes and a draw.
//!
//! The run is the same each time: three agencies send their rows in batches through two
//! instances, close, and the draw is held. At operation k one fault happens. An instance
//! that died or broke starts again, as its operator would do; then the run goes on to its end, and
//! what was acknowledged is compared with what is there.

use std::path::Path;

use journal::disk::simulated::{DiskFault, Machine};
use protocol::{AgencyId, AgencyState, Digest, Outcome, WireBets};

use super::commit::{Close, OwnedBatch};
use super::error::StoreError;
use super::settings::StoreSettings;
use super::tests::{
    self, SimulatedVolume, append_group, close_group, deadline, try_look, try_status,
};
use super::volume::Volume;
use crate::store::{AgencyRows, AgencyStatus, Batch, Unavailable};

const AGENCIES: u32 = 3;
const ROWS: u64 = 8;
const BATCH_ROWS: u64 = 3;

fn settings() -> StoreSettings {
    StoreSettings { agencies_amount: AGENCIES, ..tests::settings() }
}

/// Row `row` of `agency`, from 1: the fourth one of each agency wins.
fn fields(agency: AgencyId, row: u64) -> [String; 5] {
    let number = if row == 4 { 7 } else { 8 };
    let name = if row == 2 { format!("Ana, \"{agency}\"") } else { format!("Ana {agency}") };
    [name, "Paz".into(), format!("{agency}D{row}"), "2000-01-01".into(), number.to_string()]
}

fn batch(agency: AgencyId, first_row: u64, last_row: u64) -> OwnedBatch {
    let rows: Vec<_> = (first_row..=last_row).map(|row| fields(agency, row).join(";")).collect();
    let bets = rows.join(":");
    let bets = WireBets::parse(&bets).unwrap();
    OwnedBatch::from(&Batch { agency, first_row: Some(first_row), bets })
}

fn digest(agency: AgencyId, rows: u64) -> Digest {
    (1..=rows).fold(Digest::default(), |d, row| d.fold(fields(agency, row).join(";").as_bytes()))
}

/// What its agency knows: what was acknowledged to it.
struct Agency {
    id: AgencyId,
    acknowledged: u64,
    closed: bool,
}

fn is_dead(reason: &str) -> bool {
    reason.contains("the process is dead")
}

struct Run {
    machine: Machine,
    instances: [Option<SimulatedVolume>; 2],
    agencies: Vec<Agency>,
    crashes: u64,
    seed: u64,
}

impl Run {
    fn new(faults: &[(u64, DiskFault)], seed: u64) -> Self {
        let machine = Machine::default();
        for (at, fault) in faults {
            machine.fail_at(*at, *fault);
        }
        let agency = |id| Agency { id, acknowledged: 0, closed: false };
        let agencies = AgencyId::all(AGENCIES).map(agency).collect();
        Self { machine, instances: [None, None], agencies, crashes: 0, seed }
    }

    /// An instance that works; started again if it has died.
    fn instance(&mut self, place: usize) -> Option<&mut SimulatedVolume> {
        if self.machine.has_crashed() {
            self.instances = [None, None];
            self.crashes += 1;
            self.machine.start(self.seed.wrapping_add(self.crashes));
        }
        if self.instances[place].is_none() {
            self.instances[place] = Volume::open(self.machine.process(), settings()).ok();
        }
        self.instances[place].as_mut()
    }

    /// Does one thing at an instance; what broke, or has died, is no instance any more.
    fn at<T>(
        &mut self,
        place: usize,
        work: impl FnOnce(&mut SimulatedVolume) -> Result<T, StoreError>,
    ) -> Option<T> {
        let done = work(self.instance(place)?);
        if done.as_ref().is_err_and(|error| error.is_broken() || is_dead(&error.reason())) {
            self.instances[place] = None;
        }
        self.machine.free_space();
        done.ok()
    }

    /// Sends the next batch of an agency, after asking where it stands. As a client must, it
    /// takes no answer for granted.
    fn send(&mut self, index: usize, place: usize) {
        let agency = self.agencies[index].id;
        let Some(status) = self.status(agency, place) else { return };
        let stored = status.stored;
        self.check_status(index, stored);
        let last = (stored.rows + BATCH_ROWS).min(ROWS);
        if stored.rows == ROWS {
            self.agencies[index].acknowledged = ROWS;
            return;
        }
        let batch = batch(agency, stored.rows + 1, last);
        let Some(appended) = self.at(place, |v| append_group(v, &[batch])) else { return };
        if appended[0].outcome == Outcome::Done {
            self.agencies[index].acknowledged = last;
            self.check_status(index, appended[0].stored);
        } else {
            self.drop_if_dead(&appended[0].outcome, place);
        }
    }

    fn status(&mut self, agency: AgencyId, place: usize) -> Option<AgencyStatus> {
        let status = self.at(place, |volume| try_status(volume, agency))?;
        status
            .map_err(|Unavailable(reason)| self.drop_if_dead(&Outcome::TryAgain(reason), place))
            .ok()
    }

    fn check_status(&self, index: usize, stored: AgencyRows) {
        let agency = &self.agencies[index];
        assert!(stored.rows >= agency.acknowledged, "an acknowledged row is missing");
        assert_eq!(stored.digest, digest(agency.id, stored.rows), "a row that no agency sent");
        let is_whole = stored.rows.is_multiple_of(BATCH_ROWS) || stored.rows == ROWS;
        assert!(is_whole, "{} rows: a batch in part", stored.rows);
    }

    fn close(&mut self, index: usize, place: usize) {
        let agency = self.agencies[index].id;
        let close = Close { agency, declared: Some(ROWS) };
        let Some(closed) = self.at(place, |v| close_group(v, &[close])) else { return };
        if closed[0].outcome == Outcome::Done {
            self.agencies[index].closed = true;
        } else {
            self.drop_if_dead(&closed[0].outcome, place);
        }
    }

    /// In the simulation a dead process still answers, and its answer does not count.
    fn drop_if_dead(&mut self, outcome: &Outcome, place: usize) {
        let Outcome::TryAgain(reason) = outcome else { panic!("refused: {outcome:?}") };
        if is_dead(reason) {
            self.instances[place] = None;
        }
    }

    /// An instance that is asked to end leaves the volume tidy; then it starts again.
    fn restart(&mut self, place: usize) {
        self.at(place, |volume| volume.settle(deadline()));
        self.instances[place] = None;
    }

    /// One step of every agency, alternating between the instances.
    fn round(&mut self, round: usize) {
        for index in 0..self.agencies.len() {
            let place = (index + round) % 2;
            let agency = &self.agencies[index];
            if agency.acknowledged < ROWS {
                self.send(index, place);
            } else if !agency.closed {
                self.close(index, place);
            }
        }
        for place in [0, 1] {
            let looked = self.at(place, try_look);
            if let Some(Err(Unavailable(reason))) = looked {
                self.drop_if_dead(&Outcome::TryAgain(reason), place);
            }
            self.check_draw(place);
        }
        if round == 1 {
            self.restart(0);
        }
    }

    fn is_done(&self) -> bool {
        self.agencies.iter().all(|agency| agency.closed)
            && self.instances.iter().flatten().filter(|v| v.record.draw().is_some()).count() == 2
    }

    fn check_draw(&self, place: usize) {
        let Some(draw) = self.instances[place].as_ref().and_then(|v| v.record.draw()) else {
            return;
        };
        for agency in &self.agencies {
            assert_eq!(draw.winners(agency.id).unwrap().as_ref(), format!("{}D4", agency.id));
        }
        assert_eq!(draw.bets, ROWS * u64::from(AGENCIES));
    }

    fn finish(&mut self) {
        let mut round = 0;
        while !self.is_done() {
            self.round(round);
            round += 1;
            assert!(round < 60, "the run does not end");
        }
    }

    /// The file, line by line, against what the agencies sent.
    fn check_file(&mut self) {
        let content = self.machine.content(Path::new("/volume/bets.csv")).unwrap();
        let lines: Vec<_> = content.split_inclusive(|b| *b == b'\n').collect();
        assert_eq!(lines.len() as u64, ROWS * u64::from(AGENCIES));
        for agency in AgencyId::all(AGENCIES) {
            let head = format!("{agency},");
            let own = lines.iter().filter(|line| line.starts_with(head.as_bytes()));
            let own: Vec<u8> = own.flat_map(|line| line.iter().copied()).collect();
            let mut rows = Vec::new();
            batch(agency, 1, ROWS).bets.as_wire().write_rows(agency, &mut rows);
            assert_eq!(own, rows);
            let asked = (0..9).find_map(|_| self.status(agency, 0));
            let status = asked.expect("one fault at the most");
            assert_eq!((status.stored.rows, status.state), (ROWS, AgencyState::Drawn));
        }
    }
}

fn run(faults: &[(u64, DiskFault)], seed: u64) -> u64 {
    let mut run = Run::new(faults, seed);
    if faults.len() > 1 {
        run.machine.only_syncs_fail();
    }
    run.finish();
    run.check_file();
    run.machine.operations()
}

/// How many ways of what a crash leaves are tried at each operation.
const CRASHES: u64 = 6;

/// A fault at `operation`; and a failed sync there, followed by a crash.
fn every_fault_at(operation: u64) {
    for fault in DiskFault::ALL {
        let crashes = matches!(fault, DiskFault::Crash | DiskFault::CrashAfter);
        for way in 0..if crashes { CRASHES } else { 1 } {
            check(&[(operation, fault)], operation * 1_000 + way);
        }
    }
    for later in [1, 4, 11, 30] {
        let faults = [(operation, DiskFault::Fail), (operation + later, DiskFault::Crash)];
        check(&faults, operation * 1_000 + later);
    }
}

fn check(faults: &[(u64, DiskFault)], seed: u64) {
    let done = std::panic::catch_unwind(|| run(faults, seed));
    assert!(done.is_ok(), "{faults:?} with seed {seed}: FAULT_OPERATION={} again", faults[0].0);
}

/// All operations, or the one that the environment variable FAULT_OPERATION names.
#[test]
fn every_fault_at_every_operation() {
    let operations = run(&[], 0);
    assert!(operations > 100, "the run does its work through the simulated disk");
    if let Ok(operation) = std::env::var("FAULT_OPERATION") {
        return every_fault_at(operation.parse().unwrap());
    }
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (1..=operations).skip(half).step_by(2).for_each(every_fault_at));
        }
    });
}
