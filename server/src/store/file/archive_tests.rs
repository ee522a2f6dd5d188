//! Days that are put away, also when that is cut short anywhere.

use std::path::Path;

use journal::disk::simulated::{DiskFault, Machine};
use protocol::{AgencyState, Outcome};

use super::archive::{ArchiveError, ArchivedDay, archive};
use super::tests::{
    BETS, ROW, SimulatedVolume, append, close, content, look, open, settings, status,
};

/// A day of one row and one close; drawn, if `drawn`, after a second close.
fn a_day(machine: &Machine, drawn: bool) -> SimulatedVolume {
    let mut volume = open(machine);
    append(&mut volume, Some(1));
    close(&mut volume, 1, Some(1));
    if drawn {
        close(&mut volume, 2, None);
        assert!(look(&mut volume));
    }
    volume
}

/// The day that one of two calls put away. Neither reports it if only the last step of the first
/// call was not done.
fn day_of(calls: [&Result<ArchivedDay, ArchiveError>; 2]) -> Option<&ArchivedDay> {
    match calls {
        [Ok(day), Err(ArchiveError::Empty)] | [Err(_), Ok(day)] => Some(day),
        [Err(_), Err(ArchiveError::Empty)] => None,
        other => panic!("{other:?}"),
    }
}

/// By a process that dies at each operation in turn, then by one that does not.
#[test]
fn a_day_is_put_away_also_when_the_first_try_was_cut_short() {
    for drawn in [true, false] {
        for ahead in 1.. {
            let machine = Machine::default();
            let mut volume = a_day(&machine, drawn);
            machine.fail_at(machine.operations() + ahead, DiskFault::Die);
            let first = archive(machine.process(), settings(), true);
            machine.heal();
            // Wherever it stopped: nothing is added to a day that is being put away.
            let late = append(&mut volume, Some(2)).outcome;
            assert_ne!(late, Outcome::Done, "at operation {ahead}");
            let again = archive(machine.process(), settings(), true);
            if let Some(day) = day_of([&first, &again]) {
                let file = |name| machine.content(&day.directory.join(name));
                let closes = if drawn { &b"1\n2\n"[..] } else { b"1\n" };
                assert_eq!(file("bets.csv").unwrap(), ROW.as_bytes());
                assert_eq!(file("agencies_closed.txt").unwrap(), closes);
                assert_eq!(file("draw.json").is_some(), drawn);
            } else {
                assert_eq!(content(&machine, BETS), "", "all but the last step was done");
            }
            let fresh = status(&mut volume, 1);
            assert_eq!((fresh.stored.rows, fresh.state), (0, AgencyState::Open));
            assert_eq!(append(&mut volume, Some(1)).outcome, Outcome::Done);
            if first.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn rows_of_another_system_are_reported_also_by_the_second_try() {
    const OURS: &str = "1,Leo,Sol,D2,2000-01-02,8\n";
    let others = OURS.replace('\n', "\r\n");
    let rows = [[OURS, OURS, OURS], [OURS, &others, OURS], [OURS, OURS, &others]];
    for (rows, has_others_rows) in
        rows.map(|rows| rows.concat()).into_iter().zip([false, true, true])
    {
        for ahead in 1.. {
            let machine = Machine::default();
            machine.put(Path::new(BETS), rows.as_bytes());
            machine.fail_at(machine.operations() + ahead, DiskFault::Die);
            let first = archive(machine.process(), settings(), true);
            machine.heal();
            let again = archive(machine.process(), settings(), true);
            if let Some(day) = day_of([&first, &again]) {
                assert_eq!(day.has_others_rows, has_others_rows, "{rows:?}, {ahead}");
            }
            if first.is_ok() {
                break;
            }
        }
    }
}
