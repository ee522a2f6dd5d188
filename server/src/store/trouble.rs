//! What an operator is told when nothing can be stored any more, and when it can again.
//!
//! The batches that are answered "try again" meanwhile are told one by one, in what their agencies
//! understand. Here it is told once, with what to do. That storing works again is seen by the logs
//! themselves, whichever instance stored: they are as long as they would have become.
//!
//! **Invariant**: of one cause no more than one ERROR is logged before the INFO that ends it.

use std::io;
use std::time::Instant;

use tracing::{error, info};

use super::lock::LockError;
use super::log_error::LogError;
use super::volume::reason;

/// Why nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Full,
    ReadOnly,
    Gone,
    Denied,
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
            _ => Self::Other,
        })
    }

    fn what_to_do(self) -> &'static str {
        match self {
            Self::Full => "make room on the volume's file system, or raise its quota",
            Self::ReadOnly => {
                "make the volume's file system writable; the system's log says why it is not"
            }
            Self::Gone => "put the volume back as it was",
            Self::Denied => "give the volume's files back to the user of the servers",
            Self::Other => "look at the disk and at the system's log",
        }
    }
}

/// Whether storing fails, and what was told about it.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Failing>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    told: Vec<Cause>,
    /// How much was stored when it failed last, and how much has to be before it counts as over.
    stored: u64,
    wanted: u64,
}

impl Trouble {
    /// Something failed while `stored` bytes were there, to which up to `more` were to come.
    pub(super) fn failed(&mut self, error: &LogError, stored: u64, more: u64) {
        let Some(cause) = Cause::of(error) else { return };
        // Whoever could not even look may find that it is there already.
        let more = if matches!(error, LogError::Append(..)) { more } else { 0 };
        let start = || Failing { since: Instant::now(), told: Vec::new(), stored, wanted: 0 };
        let failing = self.0.get_or_insert_with(start);
        failing.stored = stored;
        failing.wanted = failing.wanted.max(stored + more);
        if failing.told.contains(&cause) {
            return;
        }
        failing.told.push(cause);
        let next = format!(
            "nothing of what comes now is stored, and agencies are told to try again: {}; service \
             then goes on by itself",
            cause.what_to_do()
        );
        error!(action = "store", result = "fail", error = reason(error), next);
    }

    /// Something succeeded, and `stored` bytes are there; fewer than before are those of a new day.
    pub(super) fn succeeded(&mut self, stored: u64) {
        let is_over = |failing: &mut Failing| stored >= failing.wanted || stored < failing.stored;
        if let Some(failing) = self.0.take_if(is_over) {
            let seconds = failing.since.elapsed().as_secs();
            let next = "what comes is stored again";
            info!(action = "store", result = "success", failed_for_seconds = seconds, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::simulated::Machine;
    use super::super::volume_tests::{append, close, open};
    use protocol::Outcome;

    fn failed(kind: io::ErrorKind) -> LogError {
        LogError::Append("bets.csv".into(), kind.into())
    }

    fn told(trouble: &Trouble) -> usize {
        trouble.0.as_ref().map_or(0, |failing| failing.told.len())
    }

    #[test]
    fn a_cause_is_told_once_until_what_failed_can_be_stored() {
        let mut trouble = Trouble::default();
        for _ in 0..3 {
            trouble.failed(&failed(io::ErrorKind::StorageFull), 100, 50);
        }
        assert_eq!(told(&trouble), 1);
        trouble.failed(&failed(io::ErrorKind::ReadOnlyFilesystem), 100, 10);
        assert_eq!(told(&trouble), 2, "another cause, of which nothing was told");
        trouble.succeeded(149);
        assert_eq!(told(&trouble), 2, "a smaller batch fits while the disk is full");
        trouble.succeeded(150);
        assert_eq!(told(&trouble), 0);
        trouble.failed(&failed(io::ErrorKind::StorageFull), 100, 50);
        trouble.succeeded(0);
        assert_eq!(told(&trouble), 0, "a new day");
    }

    #[test]
    fn what_passes_by_itself_is_no_trouble() {
        let mut trouble = Trouble::default();
        trouble.failed(&LogError::Archiving, 0, 1);
        trouble.failed(&LogError::Lock(LockError::Held("locks/x".into())), 0, 1);
        assert_eq!(told(&trouble), 0);
        let gone = LockError::System("locks/x".into(), io::ErrorKind::NotFound.into());
        trouble.failed(&LogError::Lock(gone), 7, 1);
        assert_eq!(told(&trouble), 1);
        trouble.succeeded(7);
        assert_eq!(told(&trouble), 0, "the volume is back");
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
