//! Outage alerts: what an operator is told when storing or drawing begins to fail, and when it
//! works again.
//!
//! Each batch that is answered "try again" meanwhile is logged by itself. Here the outage is
//! reported once, with what to do. That storing works again is seen by the logs themselves,
//! whichever instance stored: they are as long as they would have become. A draw that cannot be held
//! is an outage of its own, which ends when the draw is there.
//!
//! **Invariant**: of one cause no more than one ERROR is logged before the INFO that ends it, and
//! that INFO only by a request that had both locks, or that found the draw.

use std::io;
use std::time::Instant;

use journal::{JournalError, LockError};
use tracing::{error, info};

use super::error::StoreError;
use crate::limits::OUTAGE_QUIET;

/// How far a request that succeeded came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It looked from outside, without a lock.
    Outside,
    /// It had both locks and read what is new.
    Locked,
    /// Behind the locks, it appended to a log.
    Appended,
}

/// Why it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Full,
    ReadOnly,
    Gone,
    Denied,
    Exhausted,
    Other,
}

impl Cause {
    /// The cause of an error that a person has to do something about; a lock that is held, or a
    /// day that is being archived, passes by itself.
    fn of(error: &StoreError) -> Option<Self> {
        let (StoreError::Journal(error) | StoreError::Draw(error)) = error else { return None };
        let (JournalError::Lock(LockError::System(_, error))
        | JournalError::Read(_, error)
        | JournalError::Append { error, .. }) = error
        else {
            return None;
        };
        Some(match error.kind() {
            // A damaged `draw.json`, which is reported where it is read.
            io::ErrorKind::InvalidData => return None,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::NotFound => Self::Gone,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ if is_exhausted(error) => Self::Exhausted,
            _ => Self::Other,
        })
    }

    fn what_to_do(self) -> &'static str {
        match self {
            Self::Full => "make room on the volume's file system, or raise its quota",
            Self::ReadOnly => {
                "make the volume's file system writable; the system's log says why it is not"
            }
            Self::Gone => {
                "put the volume back as it was; if only a file of locks was removed, start any \
                 server again, which makes it anew for all"
            }
            Self::Denied => "give the volume's files back to the user of the servers",
            Self::Exhausted => {
                "raise the server's limits of open files, threads or memory, or end what uses them \
                 up"
            }
            Self::Other => "look at the disk and at the system's log",
        }
    }
}

/// For want of descriptors, threads or memory: nothing is wrong with the disk.
fn is_exhausted(error: &io::Error) -> bool {
    let wants = [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| wants.contains(&code))
}

/// Whether storing or drawing fails, and what was reported about it.
#[derive(Debug, Default)]
pub(super) struct Outages {
    storing: Option<Outage>,
    drawing: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    last: Instant,
    reported: Vec<Cause>,
    /// How long the logs were when it failed last, in bytes.
    bytes: u64,
    /// How long they have to be before it counts as over, in bytes; `None` while nothing that
    /// was to be written has failed.
    bytes_wanted: Option<u64>,
}

impl Outage {
    /// Logs that are shorter than before are those of a new day.
    fn is_new_day(&self, bytes: u64) -> bool {
        bytes < self.bytes
    }

    /// Whether storing works again. A smaller group may fit while the disk is full, so that it
    /// counts only after a while without a failure.
    fn is_over(&self, progress: Progress, bytes: u64, now: Instant) -> bool {
        let is_there = self.bytes_wanted.is_none_or(|wanted| bytes >= wanted);
        let is_quiet = now.duration_since(self.last) >= OUTAGE_QUIET;
        let is_written = progress == Progress::Appended && is_quiet;
        progress != Progress::Outside && (is_there || is_written || self.is_new_day(bytes))
    }

    fn report_end(&self, next: &str, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs();
        info!(action = "store", result = "success", failed_for_seconds = seconds, next);
    }
}

impl Outages {
    /// A request failed, with logs of together `bytes`.
    pub(super) fn failed(&mut self, error: &StoreError, bytes: u64, now: Instant) {
        let Some(cause) = Cause::of(error) else { return };
        let (outage, what) = match error {
            StoreError::Draw(_) => {
                (&mut self.drawing, "the draw is not held, and agencies wait for their winners")
            }
            _ => (
                &mut self.storing,
                "nothing of what comes now is stored, and agencies are told to try again",
            ),
        };
        let start =
            || Outage { since: now, last: now, reported: Vec::new(), bytes, bytes_wanted: None };
        let outage = outage.get_or_insert_with(start);
        (outage.last, outage.bytes) = (now, bytes);
        if let StoreError::Journal(JournalError::Append { bytes: more, .. }) = error {
            outage.bytes_wanted = outage.bytes_wanted.max(Some(bytes + more));
        }
        if outage.reported.contains(&cause) {
            return;
        }
        outage.reported.push(cause);
        let next = format!("{what}: {}; service then goes on by itself", cause.what_to_do());
        error!(action = "store", result = "fail", error = error.reason(), next);
    }

    /// A request succeeded and came so far, with logs of together `bytes` now.
    pub(super) fn succeeded(
        &mut self,
        progress: Progress,
        bytes: u64,
        is_drawn: bool,
        now: Instant,
    ) {
        if let Some(outage) = self.storing.take_if(|it| it.is_over(progress, bytes, now)) {
            outage.report_end("what comes is stored again", now);
        }
        if let Some(outage) = self.drawing.take_if(|it| is_drawn || it.is_new_day(bytes)) {
            let next = if is_drawn { "the draw is held" } else { "the day has been put away" };
            outage.report_end(next, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    use journal::disk::Disk as _;
    use journal::disk::simulated::Machine;
    use protocol::Outcome;

    use super::super::pending::OwnedBatch;
    use super::super::tests::{
        SimulatedVolume, append, append_group, batch, close, look, open, rows, status, try_look,
    };

    const LOCK: &str = "/volume/locks/bets.csv.lock";

    fn failed(kind: io::ErrorKind, bytes: u64) -> StoreError {
        let (path, error) = ("bets.csv".into(), kind.into());
        StoreError::Journal(JournalError::Append { path, bytes, error })
    }

    /// How many causes were told, of storing and of drawing.
    fn told_of_both(outages: &Outages) -> [usize; 2] {
        let told = |it: &Option<Outage>| it.as_ref().map_or(0, |outage| outage.reported.len());
        [told(&outages.storing), told(&outages.drawing)]
    }

    fn told(outages: &Outages) -> usize {
        told_of_both(outages)[0]
    }

    #[test]
    fn a_cause_is_told_once_until_what_failed_can_be_stored() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        for _ in 0..3 {
            let full = failed(io::ErrorKind::StorageFull, 50);
            outages.failed(&full, 100, now);
        }
        assert_eq!(told(&outages), 1);
        let read_only = failed(io::ErrorKind::ReadOnlyFilesystem, 10);
        outages.failed(&read_only, 100, now);
        assert_eq!(told(&outages), 2, "another cause, of which nothing was told");
        outages.succeeded(Progress::Appended, 149, false, now);
        assert_eq!(told(&outages), 2, "a smaller batch fits while the disk is full");
        outages.succeeded(Progress::Locked, 150, false, now);
        assert_eq!(told(&outages), 0, "whoever stored it");
        outages.failed(&read_only, 100, now);
        outages.succeeded(Progress::Locked, 0, false, now);
        assert_eq!(told(&outages), 0, "a new day");
    }

    #[test]
    fn a_group_that_never_comes_again_keeps_no_outages_for_ever() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        let full = |bytes| failed(io::ErrorKind::StorageFull, bytes);
        outages.failed(&full(100_000), 0, now);
        let quiet = now + OUTAGE_QUIET;
        outages.failed(&full(9), 10, quiet);
        outages.succeeded(Progress::Appended, 20, false, quiet);
        assert_eq!(told(&outages), 1, "it failed just now");
        let quiet = quiet + OUTAGE_QUIET;
        outages.succeeded(Progress::Locked, 20, false, quiet);
        assert_eq!(told(&outages), 1, "nothing was written");
        outages.succeeded(Progress::Appended, 30, false, quiet);
        assert_eq!(told(&outages), 0);
        outages.failed(&full(1), 30, quiet);
        assert_eq!(told(&outages), 1, "the next full disk is told, too");
    }

    #[test]
    fn what_passes_by_itself_is_no_outages() {
        let (mut outages, now) = (Outages::default(), Instant::now());
        outages.failed(&StoreError::Archiving, 0, now);
        let held = JournalError::Lock(LockError::Held("locks/x".into()));
        outages.failed(&held.into(), 0, now);
        assert_eq!(told(&outages), 0);
        let gone = LockError::System("locks/x".into(), io::ErrorKind::NotFound.into());
        outages.failed(&JournalError::Lock(gone).into(), 7, now);
        assert_eq!(told(&outages), 1);
        outages.succeeded(Progress::Outside, 7, false, now);
        assert_eq!(told(&outages), 1, "nobody has had a lock");
        outages.succeeded(Progress::Locked, 7, false, now);
        assert_eq!(told(&outages), 0, "the volume is back");
    }

    #[test]
    fn want_of_descriptors_or_threads_is_not_a_wrong_disk() {
        for code in [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM] {
            let error = JournalError::Read("bets.csv".into(), io::Error::from_raw_os_error(code));
            assert_eq!(Cause::of(&error.into()), Some(Cause::Exhausted));
        }
        let error = JournalError::Read("bets.csv".into(), io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(Cause::of(&error.into()), Some(Cause::Other));
    }

    #[test]
    fn a_look_from_outside_does_not_end_the_outages_of_a_lock_that_is_gone() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        machine.process().remove(Path::new(LOCK)).unwrap();
        let mut since = None;
        for _ in 0..3 {
            assert!(matches!(append(&mut volume, Some(2)).outcome, Outcome::TryAgain(_)));
            assert!(!look(&mut volume));
            let storing = volume.outages.storing.as_ref().expect("nothing can be stored");
            assert_eq!(
                (storing.reported.len(), *since.get_or_insert(storing.since)),
                (1, storing.since)
            );
        }
        machine.put(Path::new(LOCK), b"");
        assert!(!look(&mut volume));
        assert_eq!(told(&volume.outages), 1);
        assert_eq!(append(&mut volume, Some(2)).outcome, Outcome::Done);
        assert_eq!(told(&volume.outages), 0);
    }

    #[test]
    fn a_batch_that_was_stored_before_does_not_count_to_what_could_not_be_stored() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        let long = || rows(Some(1), 100);
        let next = || batch(Some(101));
        let done = |volume: &mut SimulatedVolume, group: &[OwnedBatch]| {
            append_group(volume, group).unwrap().remove(0).outcome
        };
        assert_eq!(done(&mut volume, &[long()]), Outcome::Done);
        machine.refuse_writes(io::ErrorKind::StorageFull);
        assert!(matches!(done(&mut volume, &[next(), long()]), Outcome::TryAgain(_)));
        assert_eq!(told(&volume.outages), 1);
        status(&mut volume, 1);
        assert_eq!(told(&volume.outages), 1, "to read is not to write");
        machine.free_space();
        assert_eq!(done(&mut volume, &[next()]), Outcome::Done);
        assert_eq!(told(&volume.outages), 0);
    }

    #[test]
    fn a_draw_that_cannot_be_held_is_a_outages_of_its_own() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        assert_eq!(close(&mut volume, 1, None), Outcome::Done);
        assert_eq!(close(&mut volume, 2, None), Outcome::Done);
        machine.refuse_writes(io::ErrorKind::StorageFull);
        for _ in 0..2 {
            try_look(&mut volume).unwrap().unwrap_err();
            status(&mut volume, 1);
            assert_eq!(told_of_both(&volume.outages), [0, 1]);
        }
        machine.free_space();
        assert!(look(&mut open(&machine)), "another instance holds it");
        assert!(!look(&mut volume));
        assert_eq!(told_of_both(&volume.outages), [0, 0]);
    }

    #[test]
    fn every_batch_is_answered_and_goes_through_when_the_disk_can_be_written_again() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
            let machine = Machine::default();
            let (mut one, mut other) = (open(&machine), open(&machine));
            assert_eq!(append(&mut one, Some(1)).outcome, Outcome::Done);
            machine.refuse_writes(kind);
            for _ in 0..3 {
                let outcome = append(&mut one, Some(2)).outcome;
                let Outcome::TryAgain(reason) = outcome else { panic!("{outcome:?}") };
                assert!(reason.contains(&io::Error::from(kind).to_string()), "{reason}");
                assert!(matches!(close(&mut one, 1, Some(1)), Outcome::TryAgain(_)));
            }
            assert_eq!(told(&one.outages), 1);
            machine.free_space();
            // The other instance stores it, and this one sees that it is there.
            assert_eq!(append(&mut other, Some(2)).outcome, Outcome::Done);
            assert_eq!(append(&mut one, Some(2)).outcome, Outcome::Done);
            assert_eq!((told(&one.outages), told(&other.outages)), (0, 0));
        }
    }
}
