//! Outage alerts: one ERROR when storing or drawing begins to fail, with what to do, and one INFO
//! when it works again.
//!
//! Storing works again when the logs are as long as they would have become, whichever instance
//! stored. A draw that cannot be held is an outage of its own, which ends when the draw is there.
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

impl Progress {
    /// Of a request that had both locks.
    pub(super) fn of(has_appended: bool) -> Self {
        if has_appended { Self::Appended } else { Self::Locked }
    }
}

/// What an operator can do about an error. `None` if it passes without an operator: a lock that is
/// held, or a day that is being archived.
fn advice(error: &StoreError) -> Option<&'static str> {
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
        | io::ErrorKind::WriteZero => "make room on the volume's file system, or raise its quota",
        io::ErrorKind::ReadOnlyFilesystem => {
            "make the volume's file system writable; the system's log says why it is not"
        }
        io::ErrorKind::NotFound => {
            "put the volume back as it was; if only a file of locks was removed, start any server \
             again, which makes it anew for all"
        }
        io::ErrorKind::PermissionDenied => {
            "give the volume's files back to the user of the servers"
        }
        _ if is_exhausted(error) => EXHAUSTED,
        _ => "look at the disk and at the system's log",
    })
}

const EXHAUSTED: &str =
    "raise the server's limits of open files, threads or memory, or end what uses them up";

/// Whether descriptors, threads or memory are missing: then the disk is not the cause.
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
    /// The advice that was logged: one for each cause.
    reported: Vec<&'static str>,
    /// How long the logs were when it failed last, in bytes.
    bytes: u64,
    /// How long they have to be before it counts as over, in bytes; 0 while nothing that was to
    /// be written has failed.
    bytes_wanted: u64,
}

impl Outage {
    /// Logs that are shorter than before are those of a new day.
    fn is_new_day(&self, bytes: u64) -> bool {
        bytes < self.bytes
    }

    /// Whether storing works again. A smaller group may fit while the disk is full, so that it
    /// counts only after a while without a failure.
    fn is_over(&self, progress: Progress, bytes: u64, now: Instant) -> bool {
        let is_there = bytes >= self.bytes_wanted;
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
        let Some(advice) = advice(error) else { return };
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
            || Outage { since: now, last: now, reported: Vec::new(), bytes, bytes_wanted: 0 };
        let outage = outage.get_or_insert_with(start);
        (outage.last, outage.bytes) = (now, bytes);
        if let StoreError::Journal(JournalError::Append { bytes: more, .. }) = error {
            outage.bytes_wanted = outage.bytes_wanted.max(bytes + more);
        }
        if outage.reported.contains(&advice) {
            return;
        }
        outage.reported.push(advice);
        let next = format!("{what}: {advice}; service then goes on by itself");
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
    use std::time::Duration;

    use journal::disk::Disk as _;
    use journal::disk::simulated::Machine;
    use protocol::Outcome;

    use super::super::tests::{
        append, append_group, batch, close, look, open, rows, status, try_look,
    };

    const LOCK: &str = "/volume/locks/bets.csv.lock";
    const FULL: io::ErrorKind = io::ErrorKind::StorageFull;

    /// The causes that were reported of each outage that is not over: of storing, and of drawing.
    fn reported(outages: &Outages) -> [usize; 2] {
        let causes = |it: &Option<Outage>| it.as_ref().map_or(0, |outage| outage.reported.len());
        [causes(&outages.storing), causes(&outages.drawing)]
    }

    /// An append of so many bytes that failed.
    fn append_of(bytes: u64, kind: io::ErrorKind) -> Result<Progress, StoreError> {
        let (path, error) = ("bets.csv".into(), kind.into());
        Err(JournalError::Append { path, bytes, error }.into())
    }

    /// Requests on logs that are so long then, each so long after the one before; and how many
    /// causes are reported after it.
    fn story(requests: Vec<(Result<Progress, StoreError>, u64, Duration, usize)>) {
        let (mut outages, mut now) = (Outages::default(), Instant::now());
        for (place, (result, bytes, pause, causes)) in requests.into_iter().enumerate() {
            now += pause;
            match result {
                Ok(progress) => outages.succeeded(progress, bytes, false, now),
                Err(error) => outages.failed(&error, bytes, now),
            }
            assert_eq!(reported(&outages), [causes, 0], "request {place}");
        }
    }

    #[test]
    fn a_cause_is_reported_once_until_what_failed_can_be_stored() {
        let (read_only, now) = (io::ErrorKind::ReadOnlyFilesystem, Duration::ZERO);
        story(vec![
            (append_of(50, FULL), 100, now, 1),
            (append_of(50, FULL), 100, now, 1),
            // Another cause.
            (append_of(10, read_only), 100, now, 2),
            // A smaller batch fits while the disk is full.
            (Ok(Progress::Appended), 149, now, 2),
            // The logs are as long as they would have become, whichever instance stored.
            (Ok(Progress::Locked), 150, now, 0),
            (append_of(10, read_only), 100, now, 1),
            // A new day.
            (Ok(Progress::Locked), 0, now, 0),
        ]);
    }

    #[test]
    fn an_outage_ends_also_if_the_group_that_failed_never_comes_again() {
        let now = Duration::ZERO;
        story(vec![
            (append_of(100_000, FULL), 0, now, 1),
            (append_of(9, FULL), 10, OUTAGE_QUIET, 1),
            // A failure was just before.
            (Ok(Progress::Appended), 20, now, 1),
            // Nothing was written.
            (Ok(Progress::Locked), 20, OUTAGE_QUIET, 1),
            (Ok(Progress::Appended), 30, now, 0),
            (append_of(1, FULL), 30, now, 1),
        ]);
    }

    #[test]
    fn an_error_that_passes_without_an_operator_is_no_outage() {
        let now = Duration::ZERO;
        let held = JournalError::Lock(LockError::Held("locks/x".into()));
        let gone = LockError::System("locks/x".into(), io::ErrorKind::NotFound.into());
        story(vec![
            (Err(StoreError::Archiving), 0, now, 0),
            (Err(held.into()), 0, now, 0),
            (Err(JournalError::Lock(gone).into()), 7, now, 1),
            // No lock was taken since.
            (Ok(Progress::Outside), 7, now, 1),
            (Ok(Progress::Locked), 7, now, 0),
        ]);
    }

    #[test]
    fn missing_descriptors_threads_or_memory_are_not_blamed_on_the_disk() {
        for (code, is_exhausted) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::EAGAIN, true),
            (libc::ENOMEM, true),
            (libc::EIO, false),
        ] {
            let error = JournalError::Read("bets.csv".into(), io::Error::from_raw_os_error(code));
            assert_eq!(advice(&error.into()) == Some(EXHAUSTED), is_exhausted, "{code}");
        }
    }

    #[test]
    fn a_look_without_a_lock_does_not_end_an_outage() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        append(&mut volume, Some(1));
        machine.process().remove(Path::new(LOCK)).unwrap();
        for _ in 0..3 {
            assert!(matches!(append(&mut volume, Some(2)).outcome, Outcome::TryAgain(_)));
            assert!(!look(&mut volume));
            assert_eq!(reported(&volume.outages), [1, 0]);
        }
        machine.put(Path::new(LOCK), b"");
        assert!(!look(&mut volume));
        assert_eq!(reported(&volume.outages), [1, 0]);
        assert_eq!(append(&mut volume, Some(2)).outcome, Outcome::Done);
        assert_eq!(reported(&volume.outages), [0, 0]);
    }

    #[test]
    fn a_batch_that_was_stored_before_does_not_count_as_bytes_that_failed() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        let long = || rows(Some(1), 100);
        append_group(&mut volume, &[long()]).unwrap();
        machine.refuse_writes(FULL);
        append_group(&mut volume, &[batch(Some(101)), long()]).unwrap();
        status(&mut volume, 1);
        assert_eq!(reported(&volume.outages), [1, 0], "to read is not to write");
        machine.free_space();
        assert_eq!(append(&mut volume, Some(101)).outcome, Outcome::Done);
        assert_eq!(reported(&volume.outages), [0, 0]);
    }

    #[test]
    fn a_draw_that_cannot_be_held_is_an_outage_of_its_own() {
        let machine = Machine::default();
        let mut volume = open(&machine);
        assert_eq!(close(&mut volume, 1, None), Outcome::Done);
        assert_eq!(close(&mut volume, 2, None), Outcome::Done);
        machine.refuse_writes(FULL);
        for _ in 0..2 {
            try_look(&mut volume).unwrap().unwrap_err();
            status(&mut volume, 1);
            assert_eq!(reported(&volume.outages), [0, 1]);
        }
        machine.free_space();
        assert!(look(&mut open(&machine)), "another instance holds it");
        assert!(!look(&mut volume));
        assert_eq!(reported(&volume.outages), [0, 0]);
    }

    #[test]
    fn every_batch_is_answered_and_is_stored_when_the_disk_can_be_written_again() {
        for kind in [FULL, io::ErrorKind::ReadOnlyFilesystem] {
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
            assert_eq!(reported(&one.outages), [1, 0]);
            machine.free_space();
            // The other instance stores it, and this one sees that it is there.
            assert_eq!(append(&mut other, Some(2)).outcome, Outcome::Done);
            assert_eq!(append(&mut one, Some(2)).outcome, Outcome::Done);
            assert_eq!((reported(&one.outages), reported(&other.outages)), ([0, 0], [0, 0]));
        }
    }
}
