//! Crashes of the machine while two processes have each written a group that is not durable.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use journal::disk::simulated::{DiskFault, Machine, SimulatedDisk};
use journal::{Fold, JournalError, Log, LogPaths, OthersWrite, WaitEnd};

const LOG: &str = "/volume/log";

/// Knows only where lines end.
struct Lines;

impl Fold for Lines {
    fn first_line(&mut self, _: u64, lines: &[u8]) -> (usize, bool) {
        (lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1), true)
    }

    fn reset(&mut self) {}
}

fn open(machine: &Machine) -> Log<SimulatedDisk> {
    let paths = LogPaths {
        directory: "/volume".into(),
        log: "log",
        locks: "locks",
        lock: "log.lock",
        ring: "log.ring",
    };
    Log::open(Arc::new(machine.process()), paths, &WaitEnd::default(), OthersWrite::Rows).unwrap()
}

/// Appends a group of two lines; it is not durable yet.
fn append(log: &mut Log<SimulatedDisk>, name: &str) -> String {
    let group = format!("{name}, the first line\n{name}, the second line\n");
    let (mut locked, _) = log.lock(Instant::now(), &mut Lines).unwrap();
    locked.write_intent(group.as_bytes()).unwrap();
    locked.append(group.as_bytes()).unwrap();
    drop(locked);
    log.mark_applied();
    group
}

fn content(machine: &Machine) -> String {
    String::from_utf8(machine.content(Path::new(LOG)).unwrap()).unwrap()
}

#[test]
fn groups_that_two_processes_had_not_synced_are_whole_or_gone_after_each_crash() {
    for seed in 0..2_000 {
        let (machine, mut durable) = (Machine::default(), String::new());
        for crash in 0..3 {
            let (mut one, mut other) = (open(&machine), open(&machine));
            for log in [&mut one, &mut other] {
                durable += &append(log, &format!("durable {crash}"));
                log.sync().unwrap();
            }
            let groups = [append(&mut one, "one"), append(&mut other, "other")];
            machine.start(seed + crash);
            drop(open(&machine).lock(Instant::now(), &mut Lines).unwrap());
            let left = content(&machine);
            let whole = [durable.clone(), format!("{durable}{}", groups[0])];
            let both = format!("{durable}{}", groups.concat());
            assert!(whole.contains(&left) || left == both, "seed {seed}, crash {crash}: {left:?}");
            durable = left;
        }
    }
}

#[test]
fn a_failed_sync_of_the_directory_of_new_lock_files_ends_the_process() {
    let machine = Machine::default();
    let mut log = open(&machine);
    append(&mut log, "group");
    machine.put(Path::new("/volume/locks/new"), b"");
    let disk = machine.process();
    journal::disk::Disk::rename(
        &disk,
        Path::new("/volume/locks/new"),
        Path::new("/volume/locks/log.lock"),
    )
    .unwrap();
    machine.only_syncs_fail();
    (1..20).for_each(|more| machine.fail_at(machine.operations() + more, DiskFault::Fail));
    let taken = log.lock(Instant::now(), &mut Lines).map(drop);
    assert!(matches!(taken, Err(JournalError::Broken { .. })), "{taken:?}");
}
