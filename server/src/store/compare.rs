//! The draw's record beside the bets that it is about: whether one of them was changed by hand.
//!
//! Rows and digests are compared, once for each record that is read and whenever a log is not what
//! it was. Who won is not: that would be another draw.

use protocol::AgencyId;
use tracing::error;

use super::disk::Disk;
use super::volume::LockedVolume;

const NEXT: &str = "the winners of draw.json are told all the same: bring back the file that was \
                    changed; or move draw.json away, too, and what is there counts: the draw is \
                    held over bets.csv as soon as all agencies have closed";

impl<D: Disk> LockedVolume<'_, D> {
    /// Tells of a record that is not about the bets that are there.
    pub(super) fn compare_draw(&mut self) {
        if std::mem::replace(self.is_compared, true) {
            return;
        }
        if let Some(error) = self.difference() {
            error!(action = "read_draw", result = "fail", error, next = NEXT);
        }
    }

    fn difference(&self) -> Option<String> {
        let (draw, ledger) = (self.draw?, self.bets.fold());
        // Other settings than the draw's are told elsewhere.
        if ledger.agencies_amount() != draw.agencies_amount {
            return None;
        }
        let agencies = AgencyId::all(draw.agencies_amount);
        let mut others = agencies.filter(|agency| !draw.is_about(*agency, ledger.of(*agency)));
        let first = others.next()?;
        let (rows, more) = (ledger.of(first).rows, others.count());
        let more = if more > 0 { format!(" (and of {more} more)") } else { String::new() };
        Some(format!(
            "draw.json was drawn over other bets of agency {first}{more} than the {rows} that \
             bets.csv has now: one of the files was changed since"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::CLOSES;
    use super::super::disk::Disk as _;
    use super::super::simulated::{Machine, SimulatedDisk};
    use super::super::volume::Volume;
    use super::super::volume_tests::{
        BETS, append, close, content, deadline, open, settings, status,
    };

    const DRAW: &str = "/volume/draw.json";

    fn difference(volume: &mut Volume<SimulatedDisk>) -> Option<String> {
        volume.lock_for_archive(deadline()).unwrap().difference()
    }

    /// A day whose draw has been held, and an instance that knows it.
    fn drawn() -> (Machine, Volume<SimulatedDisk>) {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        close(&mut volume, 1, Some(1));
        close(&mut volume, 2, Some(0));
        assert!(volume.look(deadline()).unwrap());
        (machine, volume)
    }

    #[test]
    fn a_record_that_stayed_behind_when_its_day_was_moved_away_is_told() {
        let (machine, mut volume) = drawn();
        status(&mut volume, 1);
        for log in [PathBuf::from(BETS), settings().volume.join(CLOSES)] {
            machine.process().rename(&log, &log.with_extension("moved")).unwrap();
        }
        let mut locked = volume.lock_for_archive(deadline()).unwrap();
        assert!(*locked.is_compared);
        locked.tell_lost();
        assert!(!*locked.is_compared, "as it was with other bets");
        let told = locked.difference().unwrap();
        assert!(told.contains("of agency 1 than the 0 that bets.csv has now"), "{told}");
    }

    #[test]
    fn a_record_or_a_log_that_was_changed_since_the_draw_is_told_once() {
        let (machine, mut volume) = drawn();
        assert_eq!(difference(&mut volume), None);

        let record = content(&machine, DRAW);
        for (said, instead) in [("\"rows\": 1", "\"rows\": 12"), ("\"rows\": 0", "\"rows\": 10")] {
            machine.put(Path::new(DRAW), record.replacen(said, instead, 1).as_bytes());
            let told = difference(&mut volume).unwrap();
            assert!(told.starts_with("draw.json was drawn over other bets of agency "), "{told}");
        }
        status(&mut volume, 1);
        assert!(*volume.lock_for_archive(deadline()).unwrap().is_compared, "it is told once");

        machine.put(Path::new(DRAW), record.as_bytes());
        let changed = content(&machine, BETS).replace("Ana", "Eva");
        machine.put(Path::new(BETS), changed.as_bytes());
        let told = difference(&mut open(&machine)).unwrap();
        assert!(told.contains("of agency 1 than the 1 that bets.csv has now"), "{told}");
    }
}
