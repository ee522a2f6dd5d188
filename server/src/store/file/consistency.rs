//! Whether the draw's record is about the bets that are there, or one of them was changed by hand.
//!
//! Rows and digests are compared, once for each record that is read and whenever a log is not what
//! it was. Who won is not compared: that would be another draw.

use lottery::State;
use protocol::AgencyId;
use tracing::error;

use crate::store::Draw;

const NEXT: &str = "the winners of draw.json are told all the same: bring back the file that was \
                    changed; or move draw.json away, too, and what is there counts: the draw is \
                    held over bets.csv as soon as all agencies have closed";

/// Alerts an operator to a record that is not about the bets that are there.
pub(super) fn report_difference(draw: &Draw, state: &State) {
    if let Some(error) = difference(draw, state) {
        error!(action = "read_draw", result = "fail", error, next = NEXT);
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
    use std::path::{Path, PathBuf};

    use journal::disk::Disk as _;
    use journal::disk::simulated::Machine;

    use super::super::names::CLOSES;
    use super::super::tests::{
        BETS, SimulatedVolume, append, close, content, deadline, look, open, settings, status,
    };
    use super::*;

    const DRAW: &str = "/volume/draw.json";

    fn difference_in(volume: &mut SimulatedVolume) -> Option<String> {
        let locked = volume.lock_for_archive(deadline()).unwrap();
        difference(&locked.draw.unwrap(), locked.state)
    }

    /// A day whose draw has been held, and an instance that knows it.
    fn drawn() -> (Machine, SimulatedVolume) {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        close(&mut volume, 1, Some(1));
        close(&mut volume, 2, Some(0));
        assert!(look(&mut volume));
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
        assert!(locked.report_changes(), "compared again, because it was with other bets");
        let told = difference(&locked.draw.unwrap(), locked.state).unwrap();
        assert!(told.contains("of agency 1 than the 0 that bets.csv has now"), "{told}");
    }

    #[test]
    fn a_record_or_a_log_that_was_changed_since_the_draw_is_told_once() {
        let (machine, mut volume) = drawn();
        assert_eq!(difference_in(&mut volume), None);

        let record = content(&machine, DRAW);
        for (said, instead) in [("\"rows\": 1", "\"rows\": 12"), ("\"rows\": 0", "\"rows\": 10")] {
            machine.put(Path::new(DRAW), record.replacen(said, instead, 1).as_bytes());
            let told = difference_in(&mut volume).unwrap();
            assert!(told.starts_with("draw.json was drawn over other bets of agency "), "{told}");
        }
        status(&mut volume, 1);
        assert!(*volume.lock_for_archive(deadline()).unwrap().is_compared, "it is told once");

        machine.put(Path::new(DRAW), record.as_bytes());
        let changed = content(&machine, BETS).replace("Ana", "Eva");
        machine.put(Path::new(BETS), changed.as_bytes());
        let told = difference_in(&mut open(&machine)).unwrap();
        assert!(told.contains("of agency 1 than the 1 that bets.csv has now"), "{told}");
    }
}
