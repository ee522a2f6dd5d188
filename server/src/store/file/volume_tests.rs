//! The volume beside another system: what it left, what it adds, and what it knows nothing of.

use std::path::Path;

use journal::JournalError;
use journal::disk::simulated::{Fault, Machine};
use journal::limits::BLOCK_BYTES;
use protocol::{AgencyState, BetNumber, Outcome, Refusal};

use super::commit::Close;
use super::error::StoreError;
use super::settings::{OpenError, StoreSettings};
use super::tests::{
    BETS, ROW, SimulatedVolume, agency, append, append_group, batch, close, close_group, content,
    deadline, draw, look, open, rows, settings, status,
};
use super::volume::Volume;
use crate::store::{Appended, Closed};

const CLOSES: &str = "/volume/agencies_closed.txt";
const OTHERS: &str = "1,Leo,Sol,D2,2000-01-02,8\r\n2,\"Eva, J\",\"Luz\",D3,2000-01-03,07\r\n";

fn add(machine: &Machine, path: &str, text: &str) {
    machine.append(Path::new(path), text.as_bytes());
}

#[test]
fn rows_that_another_system_appends_count_and_stay() {
    let machine = Machine::default();
    add(&machine, BETS, OTHERS);
    let mut volume = open(&machine);
    assert_eq!(status(&mut volume, 1).stored.rows, 1);
    assert_eq!(append(&mut volume, Some(2)).outcome, Outcome::Done);
    add(&machine, BETS, OTHERS);
    assert_eq!(append(&mut volume, Some(4)).stored.rows, 4);
    assert_eq!(status(&mut volume, 2).stored.rows, 2);
    assert_eq!(content(&machine, BETS), [OTHERS, ROW, OTHERS, ROW].concat());
}

#[test]
fn a_torn_last_row_is_cut_off_before_the_next_append() {
    let machine = Machine::default();
    add(&machine, BETS, &format!("{OTHERS}1,Ana,Paz,D9,2000-01-01,75"));
    let mut volume = open(&machine);
    assert_eq!(append(&mut volume, None).stored.rows, 2);
    add(&machine, BETS, "2,torn");
    assert_eq!(append(&mut volume, None).stored.rows, 3);
    assert_eq!(content(&machine, BETS), [OTHERS, ROW, ROW].concat());
}

#[test]
fn a_damaged_line_counts_for_nothing_and_spoils_no_other() {
    let machine = Machine::default();
    let damaged = "1,Ana,Pa2,Leo,Sol,D,2000-01-01,7\r\n\"1,open quote\n\n";
    add(&machine, BETS, &format!("{damaged}{OTHERS}"));
    let mut volume = open(&machine);
    assert_eq!((status(&mut volume, 1).stored.rows, status(&mut volume, 2).stored.rows), (1, 1));
    append(&mut volume, None);
    assert_eq!(content(&machine, BETS), [damaged, OTHERS, ROW].concat());
}

#[test]
fn closes_may_lack_the_last_line_end_be_repeated_or_unknown() {
    let machine = Machine::default();
    add(&machine, CLOSES, "9\r\n2\n2");
    let mut volume = open(&machine);
    assert_eq!(status(&mut volume, 2).state, AgencyState::Closed);
    assert!(!look(&mut volume), "agency 1 is open");
    assert_eq!(close(&mut volume, 1, Some(0)), Outcome::Done);
    assert_eq!(close(&mut volume, 1, None), Outcome::Done);
    assert_eq!(content(&machine, CLOSES), "9\r\n2\n2\n1\n");
    assert!(look(&mut volume), "the draw is held now");
    assert!(!look(&mut volume), "and only once");
}

#[test]
fn nothing_is_stored_after_the_close_and_what_is_stored_is_confirmed() {
    let machine = Machine::default();
    let (mut one, mut other) = (open(&machine), open(&machine));
    append(&mut one, Some(1));
    let short = close(&mut other, 1, Some(2));
    assert!(matches!(short, Outcome::Refused(Refusal::Short, _)), "{short:?}");
    assert_eq!(close(&mut other, 1, Some(1)), Outcome::Done);
    for first_row in [None, Some(2)] {
        let late = append(&mut one, first_row).outcome;
        assert!(matches!(late, Outcome::Refused(Refusal::Closed, _)), "{late:?}");
    }
    assert_eq!(append(&mut one, Some(1)).outcome, Outcome::Done);
    close(&mut one, 2, None);
    assert!(look(&mut other));
    let late = append(&mut one, Some(2)).outcome;
    assert!(matches!(late, Outcome::Refused(Refusal::Drawn, _)), "{late:?}");
    assert_eq!(draw(&one).unwrap().winners(agency(1)).as_deref(), Some("D1"));
    assert_eq!(content(&machine, BETS), ROW);
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

/// A volume with one row, in which `fault` happened while a second one was appended, once for each
/// operation of the append until `is_it` says that the fault struck where it was wanted.
fn struck_in_append(
    fault: Fault,
    is_it: impl Fn(&Machine, &Result<Vec<Appended>, StoreError>) -> bool,
) -> (Machine, SimulatedVolume) {
    for ahead in 1..60 {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        machine.fail_at(machine.operations() + ahead, fault);
        let appended = append_group(&mut volume, &[batch(Some(2))]);
        if is_it(&machine, &appended) {
            return (machine, volume);
        }
    }
    panic!("{fault:?} never struck where it was wanted");
}

#[test]
fn a_full_disk_stores_nothing_in_part_and_mends_itself() {
    let (machine, mut volume) = struck_in_append(Fault::Short, |_, appended| {
        let Ok([Appended { outcome: Outcome::TryAgain(reason), .. }]) = appended.as_deref() else {
            return false;
        };
        reason.starts_with("append to /volume/bets.csv")
    });
    for _ in 0..3 {
        assert_eq!(content(&machine, BETS), ROW);
        let outcome = append(&mut volume, Some(2)).outcome;
        assert!(matches!(outcome, Outcome::TryAgain(_)), "{outcome:?}");
    }
    machine.free_space();
    assert_eq!(append(&mut volume, Some(2)).outcome, Outcome::Done);
    assert_eq!(content(&machine, BETS), ROW.repeat(2));
}

#[test]
fn a_group_whose_writer_died_is_cut_off_by_the_next_instance() {
    let is_torn =
        |machine: &Machine, _: &_| !content(machine, BETS).len().is_multiple_of(ROW.len());
    let (machine, died) = struck_in_append(Fault::DieWithin, is_torn);
    drop(died);
    let mut next = open(&machine);
    assert_eq!(status(&mut next, 1).stored.rows, 1);
    assert_eq!(append(&mut next, Some(2)).outcome, Outcome::Done);
    assert_eq!(content(&machine, BETS), ROW.repeat(2));
}

#[test]
fn after_a_crash_of_the_machine_another_systems_rows_stay() {
    for seed in 0..50 {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        add(&machine, BETS, OTHERS);
        machine.fail_at(machine.operations() + 1, Fault::Crash);
        drop(volume);
        assert!(Volume::open(machine.process(), settings()).is_err());
        machine.start(seed);
        let mut volume = open(&machine);
        assert_eq!(status(&mut volume, 1).stored.rows, 2, "seed {seed}");
        assert_eq!(content(&machine, BETS), [ROW, OTHERS].concat());
    }
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

#[test]
fn settings_that_contradict_a_draw_are_refused_with_the_way_out() {
    let machine = Machine::default();
    let mut volume = open(&machine);
    close(&mut volume, 1, None);
    close(&mut volume, 2, None);
    look(&mut volume);
    let more = StoreSettings { agencies_amount: 12, ..settings() };
    let other = StoreSettings { winning_number: BetNumber::new(8).unwrap(), ..settings() };
    for (settings, key) in [(more, "AGENCIES_AMOUNT=12"), (other, "LOTTERY_WINNER_NUMBER=8")] {
        let error = Volume::open(machine.process(), settings).err().unwrap();
        assert!(matches!(error, OpenError::Contradiction { .. }));
        let text = error.to_string();
        assert!(text.starts_with(key) && text.contains("server archive"), "{text}");
    }
}

#[test]
fn what_another_system_wrote_where_a_group_was_meant_to_stand_is_not_cut() {
    let no_row_of_it =
        |machine: &Machine, appended: &Result<Vec<Appended>, StoreError>| match appended.as_deref()
        {
            Ok([Appended { outcome: Outcome::TryAgain(reason), .. }]) => {
                reason.contains("bets.csv") && content(machine, BETS) == ROW
            }
            _ => false,
        };
    for fault in [Fault::Die, Fault::Short] {
        let (machine, volume) = struck_in_append(fault, no_row_of_it);
        let mut next = if fault == Fault::Die {
            drop(volume);
            open(&machine)
        } else {
            volume
        };
        machine.free_space();
        let short = "2,J,L,D,2000-01-03,7\r\n";
        add(&machine, BETS, short);
        assert_eq!(status(&mut next, 2).stored.rows, 1, "{fault:?}");
        assert_eq!(content(&machine, BETS), [ROW, short].concat());
    }
}

#[test]
fn another_systems_close_stays_after_a_restart_of_the_machine() {
    let machine = Machine::default();
    close(&mut open(&machine), 1, None);
    add(&machine, CLOSES, "2\n");
    machine.start(1);
    let mut volume = open(&machine);
    assert_eq!(status(&mut volume, 2).state, AgencyState::Closed);
    assert!(look(&mut volume));
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
    (1..=40).for_each(|ahead| machine.fail_at(now + ahead, Fault::Fail));
    let first = append_group(&mut one, &[batch(None)]);
    assert!(
        matches!(first, Err(StoreError::Journal(JournalError::Broken { .. }))),
        "its first sync is the fence's"
    );
    drop(one);
    machine.heal();
    machine.fail_at(machine.operations() + ahead, Fault::Crash);
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
    let mut ended = 0;
    for ahead in 1..60 {
        let machine = Machine::default();
        let mut volume = open(&machine);
        machine.fail_at(machine.operations() + ahead, Fault::Fail);
        machine.only_syncs_fail();
        let appended = append_group(&mut volume, &[batch(Some(1))]);
        ended +=
            u32::from(matches!(appended, Err(StoreError::Journal(JournalError::Broken { .. }))));
        if let Ok(appended) = appended {
            assert_eq!(appended[0].outcome, Outcome::Done, "no other operation failed");
        }
    }
    // The fence, and what the group's bytes and intent take.
    assert!(ended >= 3, "{ended} syncs failed");
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
