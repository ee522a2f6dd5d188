//! Alerts about what was found when the locks were taken: files that were cut, damaged, replaced or
//! changed by hand, and a draw that is not about the bets that are there.
//!
//! `server archive` moves both logs at once and keeps them. If only one log is gone, or a log has no
//! name any more, it was removed by hand: the day goes on with what is there now, and agencies that
//! have closed never learn of it. So an operator has to.
//!
//! Rows and digests of the draw's record are compared with the bets, once for each record that is
//! read and whenever a log was changed by hand. Who won is not compared: that would be another draw.

use std::path::Path;

use journal::disk::Disk;
use journal::{Cut, Damaged, Found, Locked};
use lottery::State;
use protocol::AgencyId;
use tracing::{error, info, warn};

use crate::store::Draw;

const KEEPS_WINNERS: &str = "the winners of draw.json are told all the same: bring back the file that was changed; or move \
     draw.json away, too, and what is there counts: the draw is held over bets.csv as soon as all \
     agencies have closed";

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

/// Alerts an operator to messages that were removed, cut or replaced while servers run.
pub(super) fn report_messages_changed(path: &Path) {
    error!(
        action = "read_log",
        result = "fail",
        file = %path.display(),
        error = "it was removed, cut or replaced while servers run",
        next = "goes on with what is there now: names and messages that are not there are gone",
    );
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
        None | Some(Change::NewDay(0)) => {}
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

/// Alerts an operator to a record that is not about the bets that are there.
pub(super) fn report_difference(draw: &Draw, state: &State) {
    if let Some(error) = difference(draw, state) {
        error!(action = "read_draw", result = "fail", error, next = KEEPS_WINNERS);
    }
}

fn difference(draw: &Draw, state: &State) -> Option<String> {
    // A draw that was held with other settings is reported elsewhere.
    if state.agencies_amount() != draw.agencies_amount {
        return None;
    }
    let agencies = AgencyId::all(draw.agencies_amount);
    let mut others = agencies.filter(|agency| !draw.is_over(*agency, state.stored(*agency)));
    let first = others.next()?;
    let (rows, more) = (state.stored(first).rows, others.count());
    let more = if more > 0 { format!(" (and of {more} more)") } else { String::new() };
    Some(format!(
        "draw.json was drawn over other bets of agency {first}{more} than the {rows} that \
         bets.csv has now: one of the files was changed since"
    ))
}

#[cfg(test)]
mod tests {
    use journal::disk::simulated::Machine;

    use super::super::archive;
    use super::super::tests::{
        BETS, ROW, SimulatedVolume, append, close, content, deadline, look, open, settings, status,
    };
    use super::*;

    const CLOSES: &str = "/volume/agencies_closed.txt";
    const DRAW: &str = "/volume/draw.json";

    /// A day whose draw has been held, and an instance that knows it.
    fn drawn() -> (Machine, SimulatedVolume) {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        close(&mut volume, 1, Some(1));
        close(&mut volume, 2, Some(0));
        assert!(look(&mut volume));
        assert_eq!((lost(&mut volume), difference_in(&mut volume)), (vec![], None));
        (machine, volume)
    }

    fn remove(machine: &Machine, path: &str) {
        machine.process().remove(Path::new(path)).unwrap();
    }

    /// The logs that are reported as changed by hand, and how long they were.
    fn lost(volume: &mut SimulatedVolume) -> Vec<(String, u64)> {
        let mut locked = volume.lock_both(deadline()).unwrap();
        match take_change(&mut locked.bets, &mut locked.closes) {
            None => Vec::new(),
            Some(Change::External(logs)) => {
                logs.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
            }
            Some(Change::NewDay(bytes)) => panic!("{bytes} bytes are reported as archived"),
        }
    }

    fn difference_in(volume: &mut SimulatedVolume) -> Option<String> {
        let locked = volume.lock_both(deadline()).unwrap();
        difference(&locked.draw.unwrap(), locked.state)
    }

    #[test]
    fn a_log_that_was_removed_or_cut_is_reported_once_and_the_day_goes_on() {
        let (bets, closes) = ((BETS.to_owned(), ROW.len() as u64), (CLOSES.to_owned(), 4));
        for (removed, cut, wanted) in [
            (&[BETS][..], &[][..], vec![bets.clone()]),
            (&[], &[BETS], vec![bets.clone()]),
            (&[CLOSES], &[], vec![closes.clone()]),
            (&[BETS, CLOSES], &[], vec![bets, closes]),
        ] {
            let (machine, mut volume) = drawn();
            removed.iter().for_each(|path| remove(&machine, path));
            cut.iter().for_each(|path| machine.put(Path::new(path), b""));
            assert_eq!(lost(&mut volume), wanted);
            assert_eq!(lost(&mut volume), []);
            let rows = u64::from(!wanted.iter().any(|(path, _)| path == BETS));
            assert_eq!(status(&mut volume, 1).stored.rows, rows);
        }
    }

    #[test]
    fn an_archived_day_is_not_reported_as_lost() {
        let (machine, mut volume) = drawn();
        archive(machine.process(), settings(), false).unwrap();
        let mut locked = volume.lock_both(deadline()).unwrap();
        let change = take_change(&mut locked.bets, &mut locked.closes);
        assert_eq!(change, Some(Change::NewDay(ROW.len() as u64 + 4)));
        drop(locked);
        assert_eq!(append(&mut volume, Some(1)).stored.rows, 1, "of the next day");
    }

    #[test]
    fn a_record_that_was_left_behind_when_the_logs_were_moved_is_reported() {
        let (machine, mut volume) = drawn();
        status(&mut volume, 1);
        for log in [BETS, CLOSES].map(Path::new) {
            machine.process().rename(log, &log.with_extension("moved")).unwrap();
        }
        let mut locked = volume.lock_both(deadline()).unwrap();
        assert!(*locked.is_compared);
        assert!(locked.report_changes(), "compared again, because the bets were others");
        let error = difference(&locked.draw.unwrap(), locked.state).unwrap();
        assert!(error.contains("of agency 1 than the 0 that bets.csv has now"), "{error}");
    }

    #[test]
    fn a_record_or_a_log_that_was_changed_since_the_draw_is_reported_once() {
        let (machine, mut volume) = drawn();
        let record = content(&machine, DRAW);
        for (was, is) in [("\"rows\": 1", "\"rows\": 12"), ("\"rows\": 0", "\"rows\": 10")] {
            machine.put(Path::new(DRAW), record.replacen(was, is, 1).as_bytes());
            let error = difference_in(&mut volume).unwrap();
            assert!(error.starts_with("draw.json was drawn over other bets of agency "), "{error}");
        }
        status(&mut volume, 1);
        assert!(*volume.lock_both(deadline()).unwrap().is_compared, "reported once");

        machine.put(Path::new(DRAW), record.as_bytes());
        let changed = content(&machine, BETS).replace("Ana", "Eva");
        machine.put(Path::new(BETS), changed.as_bytes());
        let error = difference_in(&mut open(&machine)).unwrap();
        assert!(error.contains("of agency 1 than the 1 that bets.csv has now"), "{error}");
    }
}
