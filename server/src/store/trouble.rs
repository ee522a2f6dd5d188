//! What an operator is told when nothing can be stored any more, and when it can again.
//!
//! The batches that are answered "try again" meanwhile are told one by one, in what their agencies
//! understand. Here it is told once, with what to do. That storing works again is seen by the logs
//! themselves, whichever instance stored: they are as long as they would have become. A draw that
//! cannot be held is a trouble of its own, which ends when the draw is there.
//!
//! **Invariant**: of one cause no more than one ERROR is logged before the INFO that ends it, and
//! that INFO only by a call that had both locks, or that found the draw.

use std::io;
use std::time::Instant;

use tracing::{error, info};

use super::lock::LockError;
use super::log_error::LogError;
use crate::limits::TROUBLE_QUIET;

/// How far a call on the volume came, or was to come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// It looked from outside, without a lock.
    Nothing,
    /// To take both locks and read what is new.
    Locks,
    /// Behind the locks, to append so many bytes to a log.
    Append(u64),
    /// Behind the locks, to hold the draw that is due.
    Draw,
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
    /// day that is being put away, passes by itself.
    fn of(error: &LogError) -> Option<Self> {
        let (LogError::Lock(LockError::System(_, error))
        | LogError::Read(_, error)
        | LogError::Append(_, error)) = error
        else {
            return None;
        };
        Some(match error.kind() {
            // A damaged `draw.json`, which is told where it is read.
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

/// Whether storing or drawing fails, and what was told about it.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    storing: Option<Failing>,
    drawing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    told: Vec<Cause>,
    /// How long the logs were when it failed last, in bytes.
    bytes: u64,
    /// How long they have to be before it counts as over, in bytes; `None` while nothing that
    /// was to be written has failed.
    bytes_wanted: Option<u64>,
}

impl Failing {
    /// Logs that are shorter than before are those of a new day.
    fn is_new_day(&self, bytes: u64) -> bool {
        bytes < self.bytes
    }

    /// Whether storing works again. A smaller group may fit while the disk is full, so that it
    /// says something only after a while without a failure.
    fn is_over(&self, tried: Tried, bytes: u64, now: Instant) -> bool {
        let is_there = self.bytes_wanted.is_none_or(|wanted| bytes >= wanted);
        let is_quiet = now.duration_since(self.last) >= TROUBLE_QUIET;
        let is_written = matches!(tried, Tried::Append(_)) && is_quiet;
        tried != Tried::Nothing && (is_there || is_written || self.is_new_day(bytes))
    }

    fn tell_end(&self, next: &str, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs();
        info!(action = "store", result = "success", failed_for_seconds = seconds, next);
    }
}

impl Trouble {
    /// What was `tried` failed, with logs of together `bytes`.
    pub(super) fn failed(&mut self, error: &LogError, tried: Tried, bytes: u64, now: Instant) {
        let Some(cause) = Cause::of(error) else { return };
        let (failing, what) = match tried {
            Tried::Draw => {
                (&mut self.drawing, "the draw is not held, and agencies wait for their winners")
            }
            Tried::Nothing | Tried::Locks | Tried::Append(_) => (
                &mut self.storing,
                "nothing of what comes now is stored, and agencies are told to try again",
            ),
        };
        let start =
            || Failing { since: now, last: now, told: Vec::new(), bytes, bytes_wanted: None };
        let failing = failing.get_or_insert_with(start);
        (failing.last, failing.bytes) = (now, bytes);
        if let (Tried::Append(more), LogError::Append(..)) = (tried, error) {
            failing.bytes_wanted = failing.bytes_wanted.max(Some(bytes + more));
        }
        if failing.told.contains(&cause) {
            return;
        }
        failing.told.push(cause);
        let next = format!("{what}: {}; service then goes on by itself", cause.what_to_do());
        error!(action = "store", result = "fail", error = error.reason(), next);
    }

    /// What was `tried` succeeded, with logs of together `bytes` now.
    pub(super) fn succeeded(&mut self, tried: Tried, bytes: u64, is_drawn: bool, now: Instant) {
        if let Some(failing) = self.storing.take_if(|it| it.is_over(tried, bytes, now)) {
            failing.tell_end("what comes is stored again", now);
        }
        if let Some(failing) = self.drawing.take_if(|it| is_drawn || it.is_new_day(bytes)) {
            let next = if is_drawn { "the draw is held" } else { "the day has been put away" };
            failing.tell_end(next, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;

    use super::super::batch::EncodedBatch;
    use super::super::disk::Disk as _;
    use super::super::simulated::{Machine, SimulatedDisk};
    use super::super::volume::Volume;
    use super::super::volume_tests::{ROW, append, batch, close, deadline, open, status};
    use protocol::Outcome;

    const LOCK: &str = "/volume/locks/bets.csv.lock";

    fn failed(kind: io::ErrorKind) -> LogError {
        LogError::Append("bets.csv".into(), kind.into())
    }

    /// How many causes were told, of storing and of drawing.
    fn told_of_both(trouble: &Trouble) -> [usize; 2] {
        let told = |it: &Option<Failing>| it.as_ref().map_or(0, |failing| failing.told.len());
        [told(&trouble.storing), told(&trouble.drawing)]
    }

    fn told(trouble: &Trouble) -> usize {
        told_of_both(trouble)[0]
    }

    #[test]
    fn a_cause_is_told_once_until_what_failed_can_be_stored() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        for _ in 0..3 {
            let full = failed(io::ErrorKind::StorageFull);
            trouble.failed(&full, Tried::Append(50), 100, now);
        }
        assert_eq!(told(&trouble), 1);
        let read_only = failed(io::ErrorKind::ReadOnlyFilesystem);
        trouble.failed(&read_only, Tried::Append(10), 100, now);
        assert_eq!(told(&trouble), 2, "another cause, of which nothing was told");
        trouble.succeeded(Tried::Append(49), 149, false, now);
        assert_eq!(told(&trouble), 2, "a smaller batch fits while the disk is full");
        trouble.succeeded(Tried::Locks, 150, false, now);
        assert_eq!(told(&trouble), 0, "whoever stored it");
        trouble.failed(&read_only, Tried::Append(50), 100, now);
        trouble.succeeded(Tried::Locks, 0, false, now);
        assert_eq!(told(&trouble), 0, "a new day");
    }

    #[test]
    fn a_group_that_never_comes_again_keeps_no_trouble_for_ever() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let full = failed(io::ErrorKind::StorageFull);
        trouble.failed(&full, Tried::Append(100_000), 0, now);
        let quiet = now + TROUBLE_QUIET;
        trouble.failed(&full, Tried::Append(9), 10, quiet);
        trouble.succeeded(Tried::Append(10), 20, false, quiet);
        assert_eq!(told(&trouble), 1, "it failed just now");
        let quiet = quiet + TROUBLE_QUIET;
        trouble.succeeded(Tried::Locks, 20, false, quiet);
        assert_eq!(told(&trouble), 1, "nothing was written");
        trouble.succeeded(Tried::Append(10), 30, false, quiet);
        assert_eq!(told(&trouble), 0);
        trouble.failed(&full, Tried::Append(1), 30, quiet);
        assert_eq!(told(&trouble), 1, "the next full disk is told, too");
    }

    #[test]
    fn what_passes_by_itself_is_no_trouble() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        trouble.failed(&LogError::Archiving, Tried::Locks, 0, now);
        let held = LogError::Lock(LockError::Held("locks/x".into()));
        trouble.failed(&held, Tried::Locks, 0, now);
        assert_eq!(told(&trouble), 0);
        let gone = LockError::System("locks/x".into(), io::ErrorKind::NotFound.into());
        trouble.failed(&LogError::Lock(gone), Tried::Locks, 7, now);
        assert_eq!(told(&trouble), 1);
        trouble.succeeded(Tried::Nothing, 7, false, now);
        assert_eq!(told(&trouble), 1, "nobody has had a lock");
        trouble.succeeded(Tried::Locks, 7, false, now);
        assert_eq!(told(&trouble), 0, "the volume is back");
    }

    #[test]
    fn want_of_descriptors_or_threads_is_not_a_wrong_disk() {
        for code in [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ENOMEM] {
            let error = LogError::Read("bets.csv".into(), io::Error::from_raw_os_error(code));
            assert_eq!(Cause::of(&error), Some(Cause::Exhausted));
        }
        let error = LogError::Read("bets.csv".into(), io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(Cause::of(&error), Some(Cause::Other));
    }

    #[test]
    fn a_look_from_outside_does_not_end_the_trouble_of_a_lock_that_is_gone() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        machine.process().remove(Path::new(LOCK)).unwrap();
        let mut since = None;
        for _ in 0..3 {
            assert!(matches!(append(&mut volume, Some(2)).outcome, Outcome::TryAgain(_)));
            assert!(!volume.look(deadline()).unwrap());
            let storing = volume.trouble.storing.as_ref().expect("nothing can be stored");
            assert_eq!(
                (storing.told.len(), *since.get_or_insert(storing.since)),
                (1, storing.since)
            );
        }
        machine.put(Path::new(LOCK), b"");
        assert!(!volume.look(deadline()).unwrap());
        assert_eq!(told(&volume.trouble), 1);
        assert_eq!(append(&mut volume, Some(2)).outcome, Outcome::Done);
        assert_eq!(told(&volume.trouble), 0);
    }

    #[test]
    fn a_batch_that_was_stored_before_does_not_count_to_what_could_not_be_stored() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        let rows = || ROW.repeat(100).into_bytes();
        let long = || EncodedBatch { rows: 100, lines: rows(), ..batch(Some(1)) };
        let next = || batch(Some(101));
        let done = |volume: &mut Volume<SimulatedDisk>, group: &[EncodedBatch]| {
            volume.append(group, deadline()).unwrap().remove(0).outcome
        };
        assert_eq!(done(&mut volume, &[long()]), Outcome::Done);
        machine.refuse_writes(io::ErrorKind::StorageFull);
        assert!(matches!(done(&mut volume, &[next(), long()]), Outcome::TryAgain(_)));
        assert_eq!(told(&volume.trouble), 1);
        status(&mut volume, 1);
        assert_eq!(told(&volume.trouble), 1, "to read is not to write");
        machine.free_space();
        assert_eq!(done(&mut volume, &[next()]), Outcome::Done);
        assert_eq!(told(&volume.trouble), 0);
    }

    #[test]
    fn a_draw_that_cannot_be_held_is_a_trouble_of_its_own() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        assert_eq!(close(&mut volume, 1, None), Outcome::Done);
        assert_eq!(close(&mut volume, 2, None), Outcome::Done);
        machine.refuse_writes(io::ErrorKind::StorageFull);
        for _ in 0..2 {
            volume.look(deadline()).unwrap_err();
            status(&mut volume, 1);
            assert_eq!(told_of_both(&volume.trouble), [0, 1]);
        }
        machine.free_space();
        assert!(open(&machine).look(deadline()).unwrap(), "another instance holds it");
        assert!(!volume.look(deadline()).unwrap());
        assert_eq!(told_of_both(&volume.trouble), [0, 0]);
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
            assert_eq!(told(&one.trouble), 1);
            machine.free_space();
            // The other instance stores it, and this one sees that it is there.
            assert_eq!(append(&mut other, Some(2)).outcome, Outcome::Done);
            assert_eq!(append(&mut one, Some(2)).outcome, Outcome::Done);
            assert_eq!((told(&one.trouble), told(&other.trouble)), (0, 0));
        }
    }
}
