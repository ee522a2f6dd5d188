//! Days that are put away, also when that is cut short anywhere.

use std::path::{Path, PathBuf};

use journal::disk::simulated::{Fault, Machine};
use protocol::{AgencyState, Outcome};

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

/// Puts a day away by a process that dies at each operation in turn, then by one that does not.
fn put_away_in_two_goes(drawn: bool) {
    for ahead in 1.. {
        let machine = Machine::default();
        let mut volume = a_day(&machine, drawn);
        machine.fail_at(machine.operations() + ahead, Fault::Die);
        let first = super::archive(machine.process(), settings(), true);
        machine.heal();
        // Whatever is in place by now: nothing is added to the day that is put away.
        let late = append(&mut volume, Some(2)).outcome;
        assert_ne!(late, Outcome::Done, "at operation {ahead}");
        let again = super::archive(machine.process(), settings(), true);
        let directory = match (&first, again) {
            (Ok(day), Err(super::ArchiveError::Empty)) => day.directory.clone(),
            (Err(_), Ok(day)) => day.directory,
            (Err(_), Err(super::ArchiveError::Empty)) => PathBuf::new(),
            other => panic!("at operation {ahead}: {other:?}"),
        };
        if directory.as_os_str().is_empty() {
            assert_eq!(content(&machine, BETS), "", "all was put away but the last word of it");
        } else {
            let closes = if drawn { "1\n2\n" } else { "1\n" };
            assert_eq!(content(&machine, directory.join("bets.csv").to_str().unwrap()), ROW);
            let path = directory.join("agencies_closed.txt");
            assert_eq!(content(&machine, path.to_str().unwrap()), closes);
            assert_eq!(machine.content(&directory.join("draw.json")).is_some(), drawn);
        }
        let fresh = status(&mut volume, 1);
        assert_eq!((fresh.stored.rows, fresh.state), (0, AgencyState::Open));
        assert_eq!(append(&mut volume, Some(1)).outcome, Outcome::Done);
        if first.is_ok() {
            return;
        }
    }
}

#[test]
fn a_day_with_rows_of_another_system_is_told_also_by_the_second_try() {
    const OURS: &str = "1,Leo,Sol,D2,2000-01-02,8\n";
    let others = OURS.replace('\n', "\r\n");
    let rows = [[OURS, OURS, OURS], [OURS, &others, OURS], [OURS, OURS, &others]];
    for (rows, has_others_rows) in
        rows.map(|rows| rows.concat()).into_iter().zip([false, true, true])
    {
        for ahead in 1.. {
            let machine = Machine::default();
            machine.put(Path::new(BETS), rows.as_bytes());
            machine.fail_at(machine.operations() + ahead, Fault::Die);
            let first = super::archive(machine.process(), settings(), true);
            machine.heal();
            let again = super::archive(machine.process(), settings(), true);
            let is_done = first.is_ok();
            match (first, again) {
                (Ok(day), _) | (Err(_), Ok(day)) => {
                    assert_eq!(day.has_others_rows, has_others_rows, "{rows:?}, {ahead}");
                }
                // All was put away but the last word of it.
                (Err(_), Err(super::ArchiveError::Empty)) => {}
                other => panic!("at operation {ahead}: {other:?}"),
            }
            if is_done {
                break;
            }
        }
    }
}

#[test]
fn a_drawn_day_is_put_away_also_when_the_first_try_was_cut_short() {
    put_away_in_two_goes(true);
}

#[test]
fn an_unfinished_day_is_put_away_also_when_the_first_try_was_cut_short() {
    put_away_in_two_goes(false);
}
