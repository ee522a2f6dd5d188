//! What an operator has to know of what was found when the locks were taken.
//!
//! `server archive` takes both logs away at once and keeps them. If one changed while the other
//! stands, or is nowhere any more, somebody else took it away: the day goes on with what is there
//! now, and agencies that have closed never learn of it. So an operator has to.

use std::path::Path;

use journal::disk::Disk;
use journal::{Cut, Damaged, Found, Locked};
use tracing::{error, info, warn};

/// Logs what was found at the log `path`, or beside it.
pub(super) fn report(path: &Path, found: Found) {
    if let Some(path) = found.replaced_lock_file {
        error!(
            action = "lock",
            result = "fail",
            file = %path.display(),
            error = "it was replaced while servers run: whoever opened it since may have written \
                     at the same time, and rows may be stored twice or damaged",
            next = "goes on with the file that has this name now: compare `client status` of every \
                    agency with its file, and never remove what is in locks",
        );
    }
    for Cut { offset, bytes, what, is_changed } in found.cuts {
        let why = if is_changed {
            "the file was removed, cut or replaced by hand"
        } else {
            "nothing of it was acknowledged"
        };
        warn!(
            action = "mend_log",
            result = "success",
            file = %path.display(),
            offset,
            bytes,
            reason = format!("cut off {what}; {why}"),
        );
    }
    for Damaged { offset, is_last } in found.damaged {
        error!(
            action = "read_log",
            result = "fail",
            file = %path.display(),
            offset,
            error = "a damaged line, which no instance of ours writes; it counts for nothing",
            last = is_last,
        );
    }
}

/// What became of the logs.
#[derive(Debug, PartialEq, Eq)]
enum Change<'p> {
    /// Both were archived, of so many bytes together.
    NewDay(u64),
    /// These, of so many bytes, were changed by hand.
    External(Vec<(&'p Path, u64)>),
}

/// Alerts an operator to logs that are not what they were; returns whether any has changed. For a
/// day that is not being archived at this moment.
pub(super) fn report_external_changes<D: Disk>(
    bets: &mut Locked<'_, D>,
    closes: &mut Locked<'_, D>,
) -> bool {
    let change = take_change(bets, closes);
    let is_changed = change.is_some();
    match change {
        None => {}
        Some(Change::NewDay(0)) => {}
        Some(Change::NewDay(bytes)) => {
            info!(action = "new_day", result = "success", put_away = bytes)
        }
        Some(Change::External(logs)) => logs.into_iter().for_each(|(path, bytes)| {
            error!(
                action = "read_log",
                result = "fail",
                file = %path.display(),
                bytes,
                error = "it was removed, cut or replaced while servers run, and what it had is not \
                         there",
                next = "goes on with what is there now: stop all servers and bring the file back, \
                        or put the day away with `server archive --unfinished`",
            );
        }),
    }
    is_changed
}

fn take_change<'v, D: Disk>(
    bets: &'v mut Locked<'_, D>,
    closes: &'v mut Locked<'_, D>,
) -> Option<Change<'v>> {
    let changes = (bets.take_external_change(), closes.take_external_change());
    match changes {
        (None, None) => return None,
        (Some(bets), Some(closes)) if bets.is_renamed && closes.is_renamed => {
            return Some(Change::NewDay(bets.bytes + closes.bytes));
        }
        _ => {}
    }
    let logs = [(changes.0, bets.path()), (changes.1, closes.path())];
    let changed = logs.into_iter().filter_map(|(change, path)| Some((path, change?.bytes)));
    Some(Change::External(changed.filter(|(_, bytes)| *bytes > 0).collect()))
}

#[cfg(test)]
mod tests {
    use journal::disk::simulated::Machine;

    use super::super::archive;
    use super::super::names::CLOSES;
    use super::super::tests::{
        BETS, ROW, SimulatedVolume, append, close, deadline, open, settings, status,
    };
    use super::*;

    /// What was lost, as it would be told.
    fn lost(volume: &mut SimulatedVolume) -> Vec<(String, u64)> {
        let mut locked = volume.lock_for_archive(deadline()).unwrap();
        match take_change(&mut locked.bets, &mut locked.closes) {
            None => Vec::new(),
            Some(Change::External(logs)) => {
                logs.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
            }
            Some(Change::NewDay(bytes)) => panic!("{bytes} bytes are called put away"),
        }
    }

    /// A day with a row and a close, and an instance that has read both.
    fn day() -> (Machine, SimulatedVolume) {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        close(&mut volume, 1, Some(1));
        assert_eq!(lost(&mut volume), []);
        (machine, volume)
    }

    #[test]
    fn a_log_that_was_removed_or_cut_is_told_once_and_the_day_goes_on() {
        let (bets, bytes) = (BETS.to_owned(), ROW.len() as u64);
        let (machine, mut volume) = day();
        machine.process().remove(Path::new(BETS)).unwrap();
        assert_eq!(lost(&mut volume), [(bets.clone(), bytes)]);
        assert_eq!(lost(&mut volume), []);
        assert_eq!(status(&mut volume, 2).stored.rows, 0);
        assert_eq!(append(&mut volume, None).stored.rows, 0, "agency 1 has closed all the same");

        let (machine, mut volume) = day();
        machine.put(Path::new(BETS), b"");
        assert_eq!(lost(&mut volume), [(bets.clone(), bytes)]);

        let (machine, mut volume) = day();
        let closes = settings().volume.join(CLOSES);
        machine.process().remove(&closes).unwrap();
        let closes_lost = (closes.display().to_string(), 2);
        assert_eq!(lost(&mut volume), vec![closes_lost.clone()]);

        let (machine, mut volume) = day();
        machine.process().remove(Path::new(BETS)).unwrap();
        machine.process().remove(&closes).unwrap();
        assert_eq!(lost(&mut volume), [(bets, bytes), closes_lost], "nobody has put them away");
    }

    #[test]
    fn a_day_that_is_put_away_is_not_lost() {
        let (machine, mut volume) = day();
        archive(machine.process(), settings(), true).unwrap();
        let mut locked = volume.lock_for_archive(deadline()).unwrap();
        let change = take_change(&mut locked.bets, &mut locked.closes);
        assert_eq!(change, Some(Change::NewDay(ROW.len() as u64 + 2)));
        drop(locked);
        assert_eq!(append(&mut volume, Some(1)).stored.rows, 1, "of the next day");
    }
}
