//! The volume beside another system, behind a crash, and when an instance leaves it.

use std::path::Path;

use journal::JournalError;
use journal::disk::simulated::{DiskFault, Machine};
use journal::limits::{BEHIND_BYTES_MAX, BLOCK_BYTES, INTENTS_MAX};
use protocol::Outcome;

use super::commit::Close;
use super::error::StoreError;
use super::tests::{
    BETS, ROW, agency, append, append_group, batch, close_group, content, deadline, open, rows,
    settings, status,
};
use super::volume::Volume;
use crate::store::Closed;

const CLOSES: &str = "/volume/agencies_closed.txt";
const OTHERS: &str = "1,Leo,Sol,D2,2000-01-02,8\r\n2,\"Eva, J\",\"Luz\",D3,2000-01-03,07\r\n";

fn add(machine: &Machine, path: &str, text: &str) {
    machine.append(Path::new(path), text.as_bytes());
}

/// What stands in `bets.csv` when an instance starts and what is added before it stores again;
/// what is left of both after a row of ours each, and the rows of the agencies 1 and 2.
#[test]
fn rows_of_another_system_count_and_stay_and_torn_or_damaged_ones_do_not() {
    let damaged = "1,Ana,Pa2,Leo,Sol,D,2000-01-01,7\r\n\"1,open quote\n\n";
    let torn = "1,Ana,Paz,D9,2000-01-01,75";
    for (found, added, left, rows) in [
        (OTHERS.to_owned(), OTHERS, [OTHERS, OTHERS], (4, 2)),
        (format!("{OTHERS}{torn}"), "2,torn", [OTHERS, ""], (3, 1)),
        (format!("{damaged}{OTHERS}"), damaged, [&format!("{damaged}{OTHERS}"), damaged], (3, 1)),
    ] {
        let machine = Machine::default();
        add(&machine, BETS, &found);
        let mut volume = open(&machine);
        assert_eq!(append(&mut volume, None).outcome, Outcome::Done);
        add(&machine, BETS, added);
        assert_eq!(append(&mut volume, None).outcome, Outcome::Done);
        assert_eq!(content(&machine, BETS), [left[0], ROW, left[1], ROW].concat());
        let status = [1, 2].map(|agency| status(&mut volume, agency).stored.rows);
        assert_eq!((status[0], status[1]), rows, "{found}");
    }
}

#[test]
fn closes_of_one_agency_in_one_group_leave_one_line() {
    let machine = Machine::default();
    let group = [(2, None), (2, Some(0)), (1, None), (2, Some(1))]
        .map(|(number, declared)| Close { agency: agency(number), declared });
    let mut volume = open(&machine);
    let mut close = || close_group(&mut volume, &group).unwrap();
    let is = |closed: &Closed| (closed.outcome == Outcome::Done, closed.is_new);
    let (first, again) = (close(), close());
    let first: Vec<_> = first.iter().map(is).collect();
    assert_eq!(first, [(true, true), (true, false), (true, true), (false, false)]);
    let again: Vec<_> = again.iter().map(is).collect();
    assert_eq!(again, [(true, false), (true, false), (true, false), (false, false)]);
    assert_eq!(content(&machine, CLOSES), "2\n1\n");
}

#[test]
fn one_agency_may_send_several_batches_in_one_group() {
    let machine = Machine::default();
    let mut volume = open(&machine);
    let group = [batch(Some(1)), batch(Some(2)), batch(Some(2)), batch(Some(4)), batch(None)];
    let appended = append_group(&mut volume, &group).unwrap();
    let rows: Vec<_> =
        appended.iter().map(|a| (a.outcome == Outcome::Done, a.stored.rows)).collect();
    assert_eq!(rows, [(true, 1), (true, 2), (true, 2), (false, 2), (true, 3)]);
    assert_eq!(content(&machine, BETS), ROW.repeat(3));
}

#[test]
fn after_a_crash_of_the_machine_another_systems_rows_stay() {
    for seed in 0..50 {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        add(&machine, BETS, OTHERS);
        machine.fail_at(machine.operations() + 1, DiskFault::Crash);
        drop(volume);
        assert!(Volume::open(machine.process(), settings()).is_err());
        machine.start(seed);
        let mut volume = open(&machine);
        assert_eq!(status(&mut volume, 1).stored.rows, 2, "seed {seed}");
        assert_eq!(content(&machine, BETS), [ROW, OTHERS].concat());
    }
}

/// At each operation of an append, the process dies or the disk is full. Where no row of the group
/// is left, another system stores in its place.
#[test]
fn what_another_system_wrote_where_a_group_was_meant_to_stand_is_not_cut() {
    let (short, mut tried) = ("2,J,L,D,2000-01-03,7\r\n", [0, 0]);
    for (index, fault) in [DiskFault::Die, DiskFault::Short].into_iter().enumerate() {
        for ahead in 1..60 {
            let machine = Machine::default();
            let mut volume = open(&machine);
            append(&mut volume, Some(1));
            machine.fail_at(machine.operations() + ahead, fault);
            let appended = append_group(&mut volume, &[batch(Some(2))]);
            if content(&machine, BETS) != ROW {
                continue;
            }
            if fault == DiskFault::Die || appended.is_err() {
                drop(volume);
                volume = open(&machine);
            }
            machine.free_space();
            add(&machine, BETS, short);
            assert_eq!(status(&mut volume, 2).stored.rows, 1, "{fault:?} at {ahead}");
            assert_eq!(content(&machine, BETS), [ROW, short].concat());
            tried[index] += 1;
        }
    }
    assert!(tried.iter().all(|tried| *tried > 5), "{tried:?}");
}

/// The first group of an instance, three rows in one batch, and a crash at the operation `ahead`
/// of it; before that another instance's fence could not be made durable. Says how many bytes of
/// the group were written, and how many rows are left after the crash.
fn crash_behind_a_fence_that_failed(ahead: u64, seed: u64) -> Option<(usize, u64)> {
    let machine = Machine::default();
    let (mut one, mut other) = (open(&machine), open(&machine));
    status(&mut one, 1);
    machine.only_syncs_fail();
    let now = machine.operations();
    (1..=40).for_each(|ahead| machine.fail_at(now + ahead, DiskFault::Fail));
    let first = append_group(&mut one, &[batch(None)]);
    assert!(
        matches!(first, Err(StoreError::Journal(JournalError::Broken { .. }))),
        "its first sync is the fence's"
    );
    drop(one);
    machine.heal();
    machine.fail_at(machine.operations() + ahead, DiskFault::Crash);
    let _ = append_group(&mut other, &[rows(None, 3)]);
    if !machine.has_crashed() {
        return None;
    }
    drop(other);
    let written = content(&machine, BETS).len();
    machine.start(seed);
    Some((written, status(&mut open(&machine), 1).stored.rows))
}

#[test]
fn a_fence_that_its_writer_could_not_make_durable_is_not_trusted() {
    let mut tried = 0;
    for ahead in 1.. {
        let Some((written, _)) = crash_behind_a_fence_that_failed(ahead, 0) else { break };
        for seed in 0..if written > 0 { 600 } else { 1 } {
            let rows = crash_behind_a_fence_that_failed(ahead, seed).map(|(_, rows)| rows);
            assert!(matches!(rows, Some(0 | 3)), "{rows:?} of 3, operation {ahead}, seed {seed}");
            tried += 1;
        }
    }
    assert!(tried > 600, "the machine crashed between write and sync");
}

#[test]
fn an_instance_ends_when_any_sync_fails() {
    let is_broken = |ahead: u64| {
        let machine = Machine::default();
        let mut volume = open(&machine);
        machine.fail_at(machine.operations() + ahead, DiskFault::Fail);
        machine.only_syncs_fail();
        match append_group(&mut volume, &[batch(Some(1))]) {
            Ok(appended) => {
                assert_eq!(appended[0].outcome, Outcome::Done, "no other operation failed");
                false
            }
            Err(error) => error.is_broken(),
        }
    };
    // The fence, and what the group's bytes and intent take.
    assert!((1..60).filter(|ahead| is_broken(*ahead)).count() >= 3);
}

/// What a crash left behind other rows: more than a block of what is no line.
#[test]
fn a_group_does_not_go_on_in_a_line_that_never_ended() {
    let machine = Machine::default();
    let (mut one, mut other) = (open(&machine), open(&machine));
    add(&machine, BETS, &"\0".repeat(BLOCK_BYTES + 9));
    let two = [batch(Some(1)), batch(Some(2))];
    assert!(append_group(&mut one, &two).unwrap().iter().all(|a| a.outcome == Outcome::Done));
    assert!(content(&machine, BETS).ends_with(&format!("\n{}", ROW.repeat(2))));
    for volume in [&mut one, &mut other, &mut open(&machine)] {
        assert_eq!(status(volume, 1).stored.rows, 2);
    }
}

#[test]
fn a_long_log_is_read_without_a_lock() {
    let machine = Machine::default();
    let row = format!("1,{},{},1,2000-01-01,8\n", "a".repeat(100), "b".repeat(100));
    let rows = BEHIND_BYTES_MAX as usize / row.len() + 1;
    add(&machine, BETS, &row.repeat(rows));
    let mut volume = open(&machine);
    let before = machine.read_under_locks();
    assert_eq!(status(&mut volume, 1).stored.rows, rows as u64);
    let read = machine.read_under_locks() - before;
    assert!(read < 1024 * 1024, "{read} bytes were read while others waited for a lock");
}

#[test]
fn a_settled_volume_may_be_edited_by_hand_before_the_machine_starts_again() {
    let machine = Machine::default();
    let mut volume = open(&machine);
    append(&mut volume, Some(1));
    volume.settle(deadline()).unwrap();
    drop(volume);
    machine.put(Path::new(BETS), ROW.replace("Ana", "Eva").repeat(2).as_bytes());
    machine.start(1);
    assert_eq!(status(&mut open(&machine), 1).stored.rows, 2);
}

/// Stores `rows` rows, a group each, settles with a crash at the operation `ahead`, and says how
/// many are left; nothing if there was no such operation.
fn left_after_a_crash(rows: u64, ahead: u64, seed: u64) -> Option<u64> {
    let machine = Machine::default();
    let mut volume = open(&machine);
    for row in 1..=rows {
        assert_eq!(append(&mut volume, Some(row)).outcome, Outcome::Done);
    }
    machine.fail_at(machine.operations() + ahead, DiskFault::CrashAfter);
    let _ = volume.settle(deadline());
    if !machine.has_crashed() {
        return None;
    }
    drop(volume);
    machine.start(seed);
    Some(status(&mut open(&machine), 1).stored.rows)
}

/// The rings have turned, so that old intents stand behind new ones.
#[test]
fn what_is_acknowledged_outlives_a_crash_while_an_instance_settles() {
    let rows = INTENTS_MAX + 44;
    let mut tried = 0;
    for ahead in 1.. {
        if left_after_a_crash(rows, ahead, 0).is_none() {
            break;
        }
        for seed in 0..4 {
            assert_eq!(left_after_a_crash(rows, ahead, seed), Some(rows), "{ahead}, {seed}");
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}: settling is many operations");
}

/// A fence differs from a later record in its number, which is never used again.
#[test]
fn an_instance_that_settles_does_not_make_a_fence_of_another_one_look_like_its_own() {
    let machine = Machine::default();
    let (mut one, mut other) = (open(&machine), open(&machine));
    append(&mut one, Some(1));
    other.settle(deadline()).unwrap();
    let before = machine.operations();
    append(&mut one, Some(2));
    let with_a_fence = machine.operations() - before;
    let before = machine.operations();
    append(&mut one, Some(3));
    assert!(machine.operations() - before < with_a_fence, "after settling a fence is raised");
    assert_eq!(status(&mut other, 1).stored.rows, 3);
}
