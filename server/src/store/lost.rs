//! A log that was removed, cut or replaced by hand while servers run.
//!
//! `server archive` takes both logs away at once and keeps them. One that is not what it was, while
//! the other stands, or that is nowhere any more, was taken away by somebody else: the day goes on
//! with what is there now, and agencies that have closed never learn of it. So an operator has to.

use std::path::Path;

use tracing::{error, info};

use super::disk::Disk;
use super::log::{Fold, Locked};
use super::volume::LockedVolume;

/// What had been folded of a log and is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    /// How long it was, in bytes.
    bytes: u64,
    /// Whether its file is still somewhere, as a day that was put away is.
    is_put_away: bool,
}

/// What became of the logs.
#[derive(Debug, PartialEq, Eq)]
enum Told<'p> {
    /// Both were put away, of so many bytes together.
    NewDay(u64),
    /// These, of so many bytes, were changed by hand.
    Lost(Vec<(&'p Path, u64)>),
}

impl<D: Disk, F: Fold> Locked<'_, D, F> {
    /// What was folded is not there any more; `is_put_away` if its file is somewhere else.
    pub(super) fn lose(&mut self, is_put_away: bool) {
        let now = Lost { bytes: self.log.folded, is_put_away };
        self.log.lost = Some(self.log.lost.map_or(now, |before| Lost {
            bytes: before.bytes.max(now.bytes),
            is_put_away: before.is_put_away && now.is_put_away,
        }));
        self.start_anew();
    }

    /// Whether something of the log was lost that nobody put away, and not told yet.
    pub(super) fn was_changed_by_hand(&self) -> bool {
        self.log.lost.is_some_and(|lost| lost.bytes > 0 && !lost.is_put_away)
    }
}

impl<D: Disk> LockedVolume<'_, D> {
    /// Tells of logs that are not what they were. For a day that nobody puts away at this moment.
    pub(super) fn tell_lost(&mut self) {
        match self.take_lost() {
            Told::NewDay(0) => {}
            Told::NewDay(bytes) => info!(action = "new_day", result = "success", put_away = bytes),
            Told::Lost(logs) => logs.into_iter().for_each(|(path, bytes)| tell(path, bytes)),
        }
    }

    fn take_lost(&mut self) -> Told<'_> {
        let (bets, closes) = (self.bets.log.lost.take(), self.closes.log.lost.take());
        // What is there now need not be what the draw was held over.
        *self.is_compared &= bets.is_none() && closes.is_none();
        if let (Some(bets), Some(closes)) = (bets, closes)
            && bets.is_put_away
            && closes.is_put_away
        {
            return Told::NewDay(bets.bytes + closes.bytes);
        }
        let logs = [(bets, self.bets.path()), (closes, self.closes.path())];
        let lost = logs.into_iter().filter_map(|(lost, path)| Some((path, lost?.bytes)));
        Told::Lost(lost.filter(|(_, bytes)| *bytes > 0).collect())
    }
}

fn tell(path: &Path, bytes: u64) {
    error!(
        action = "read_log",
        result = "fail",
        file = %path.display(),
        bytes,
        error = "it was removed, cut or replaced while servers run, and what it had is not there",
        next = "goes on with what is there now: stop all servers and bring the file back, or put \
                the day away with `server archive --unfinished`",
    );
}

#[cfg(test)]
mod tests {
    use super::super::disk::Disk as _;
    use super::super::simulated::{Machine, SimulatedDisk};
    use super::super::volume::Volume;
    use super::super::volume_tests::{BETS, ROW, append, close, deadline, open, settings, status};
    use super::super::{CLOSES, archive};
    use super::*;

    /// What was lost, as it would be told.
    fn lost(volume: &mut Volume<SimulatedDisk>) -> Vec<(String, u64)> {
        let mut locked = volume.lock_for_archive(deadline()).unwrap();
        match locked.take_lost() {
            Told::Lost(logs) => {
                logs.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
            }
            Told::NewDay(bytes) => panic!("{bytes} bytes are called put away"),
        }
    }

    /// A day with a row and a close, and an instance that has read both.
    fn day() -> (Machine, Volume<SimulatedDisk>) {
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
        assert_eq!(locked.take_lost(), Told::NewDay(ROW.len() as u64 + 2));
        drop(locked);
        assert_eq!(append(&mut volume, Some(1)).stored.rows, 1, "of the next day");
    }
}
