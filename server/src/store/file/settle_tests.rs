//! Crashes of the machine while an instance leaves the volume as one that nobody works on.

use journal::disk::simulated::{Fault, Machine};
use journal::limits::INTENTS_MAX;
use protocol::Outcome;

use super::tests::{append, deadline, open, status};

/// Stores `rows` rows, a group each, settles with a crash at the operation `ahead`, and says how
/// many are left; nothing if there was no such operation.
fn left_after_a_crash(rows: u64, ahead: u64, seed: u64) -> Option<u64> {
    let machine = Machine::default();
    let mut volume = open(&machine);
    for row in 1..=rows {
        assert_eq!(append(&mut volume, Some(row)).outcome, Outcome::Done);
    }
    machine.fail_at(machine.operations() + ahead, Fault::CrashAfter);
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

/// A fence is told from a later record by its number, which is never used again.
#[test]
fn who_settles_does_not_make_another_instances_fence_look_like_its_own() {
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
