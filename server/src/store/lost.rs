//! A log that was removed, cut or replaced by hand while servers run.
//!
//! `server archive` takes both logs away at once. One of them that is not what it was, while the
//! other stands, was taken away by somebody else: the day goes on with what is there now, and
//! agencies that have closed never learn of it. So an operator has to.

use std::path::Path;

use tracing::error;

use super::disk::Disk;
use super::volume::LockedVolume;

impl<D: Disk> LockedVolume<'_, D> {
    /// Tells of a log that is not what it was. For a day that nobody puts away at this moment.
    pub(super) fn tell_lost(&mut self) {
        if let Some((path, bytes)) = self.take_lost() {
            tell(path, bytes);
        }
    }

    /// Such a log, and how many bytes of it had been read; it is named once.
    fn take_lost(&mut self) -> Option<(&Path, u64)> {
        match (self.bets.take_lost(), self.closes.take_lost()) {
            (Some(bytes @ 1..), None) => Some((self.bets.path(), bytes)),
            (None, Some(bytes @ 1..)) => Some((self.closes.path(), bytes)),
            _ => None,
        }
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
    fn lost(volume: &mut Volume<SimulatedDisk>) -> Option<(String, u64)> {
        let mut locked = volume.lock_for_archive(deadline()).unwrap();
        locked.take_lost().map(|(path, bytes)| (path.display().to_string(), bytes))
    }

    /// A day with a row and a close, and an instance that has read both.
    fn day() -> (Machine, Volume<SimulatedDisk>) {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        close(&mut volume, 1, Some(1));
        assert_eq!(lost(&mut volume), None);
        (machine, volume)
    }

    #[test]
    fn a_log_that_was_removed_or_cut_is_told_once_and_the_day_goes_on() {
        let (bets, bytes) = (BETS.to_owned(), ROW.len() as u64);
        let (machine, mut volume) = day();
        machine.process().remove(Path::new(BETS)).unwrap();
        assert_eq!(lost(&mut volume), Some((bets.clone(), bytes)));
        assert_eq!(lost(&mut volume), None);
        assert_eq!(status(&mut volume, 2).stored.rows, 0);
        assert_eq!(append(&mut volume, None).stored.rows, 0, "agency 1 has closed all the same");

        let (machine, mut volume) = day();
        machine.put(Path::new(BETS), b"");
        assert_eq!(lost(&mut volume), Some((bets, bytes)));

        let (machine, mut volume) = day();
        let closes = settings().volume.join(CLOSES);
        machine.process().remove(&closes).unwrap();
        assert_eq!(lost(&mut volume), Some((closes.display().to_string(), 2)));
    }

    #[test]
    fn a_day_that_is_put_away_is_not_lost() {
        let (machine, mut volume) = day();
        archive(machine.process(), settings(), true).unwrap();
        assert_eq!(lost(&mut volume), None);
        assert_eq!(append(&mut volume, Some(1)).stored.rows, 1, "of the next day");
    }
}
