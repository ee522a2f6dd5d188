//! A file's lock, waited for no longer than a deadline.
//!
//! `flock` has no deadline. A free lock is taken at once; one that is held for more than a moment
//! is waited for by a thread of its own, which hands it over or, if it is not wanted any more,
//! gives it back. A holder that was paused thus costs one waiting thread, however often others try
//! meanwhile.
//!
//! **Invariant**: while the thread waits in `flock`, no other thread touches the lock's file. Two
//! takers of one open file do not exclude each other.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use crate::disk::DiskFile;
use crate::limits::{LOCK_TRY_TIMEOUT, LOCK_WAIT_STEP, WAITER_STACK_BYTES};

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another holder kept it until the deadline.
    #[error(
        "another instance holds the lock {0}, or another program (`lslocks` on the host names the \
         process)"
    )]
    Held(String),
    /// The system refused.
    #[error("lock {0}")]
    System(String, #[source] io::Error),
}

/// When all waiting for locks ends, whatever its deadline. It is set when the process shuts down, so
/// that requests that wait are answered while there is time. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct WaitEnd(Arc<OnceLock<Instant>>);

impl WaitEnd {
    /// From now on no lock is waited for after `end`. Only the first call counts.
    pub fn set(&self, end: Instant) {
        let _ = self.0.set(end);
    }

    fn or_before(&self, deadline: Instant) -> Instant {
        self.0.get().map_or(deadline, |end| deadline.min(*end))
    }
}

/// A lock file.
pub struct DeadlineLock<F> {
    name: String,
    wait_end: WaitEnd,
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    file: F,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

enum Waiting {
    /// No thread waits.
    Nobody,
    /// A thread waits in `flock`; `wanted` says whether the lock is to be kept when it comes.
    InFlock { wanted: bool },
    /// The thread has it, or the error, for the caller that wanted it.
    Arrived(io::Result<()>),
}

impl<F: DiskFile> DeadlineLock<F> {
    pub fn new(name: String, file: F, wait_end: WaitEnd) -> Self {
        let waiting = Mutex::new(Waiting::Nobody);
        Self { name, wait_end, shared: Arc::new(Shared { file, waiting, changed: Condvar::new() }) }
    }

    /// Takes the lock, until `deadline` at the latest.
    pub fn take(&self, deadline: Instant) -> Result<(), LockError> {
        let system = |error| self.refused(error);
        let mut waiting = self.shared.lock_state();
        match &mut *waiting {
            Waiting::InFlock { wanted } => *wanted = true,
            Waiting::Nobody | Waiting::Arrived(_) => {
                if self.try_a_while().map_err(system)? {
                    return Ok(());
                }
                *waiting = Waiting::InFlock { wanted: true };
                let shared = Arc::clone(&self.shared);
                let spawned = thread::Builder::new()
                    .name("lock".to_owned())
                    .stack_size(WAITER_STACK_BYTES)
                    .spawn(move || shared.wait_in_flock());
                if let Err(error) = spawned {
                    *waiting = Waiting::Nobody;
                    return Err(system(error));
                }
            }
        }
        self.await_arrival(waiting, deadline)
    }

    /// Tries to take the lock for a moment; says whether it did. Most holders give it back sooner
    /// than a thread that waits for it would start.
    fn try_a_while(&self) -> io::Result<bool> {
        let since = Instant::now();
        while !self.shared.file.try_take_lock()? {
            if since.elapsed() > LOCK_TRY_TIMEOUT {
                return Ok(false);
            }
            thread::yield_now();
        }
        Ok(true)
    }

    fn await_arrival(
        &self,
        mut waiting: MutexGuard<'_, Waiting>,
        deadline: Instant,
    ) -> Result<(), LockError> {
        loop {
            match &mut *waiting {
                Waiting::Arrived(_) => {
                    let arrived = std::mem::replace(&mut *waiting, Waiting::Nobody);
                    let Waiting::Arrived(result) = arrived else { continue };
                    return result.map_err(|e| self.refused(e));
                }
                Waiting::InFlock { wanted } => {
                    let until = self.wait_end.or_before(deadline);
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        *wanted = false;
                        return Err(LockError::Held(self.name.clone()));
                    }
                    // In steps, because setting the end of all waiting wakes no thread.
                    let step = left.min(LOCK_WAIT_STEP);
                    let woken = self.shared.changed.wait_timeout(waiting, step);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Waiting::Nobody => return Err(LockError::Held(self.name.clone())),
            }
        }
    }

    /// The system's error about this lock.
    pub fn refused(&self, error: io::Error) -> LockError {
        LockError::System(self.name.clone(), error)
    }

    /// Gives the lock back. An error is of no use to anybody: the lock's file stays open, and the
    /// system gives the lock back when it closes.
    pub fn give_back(&self) {
        let _ = self.shared.file.give_lock_back();
    }
}

impl<F: DiskFile> Shared<F> {
    fn lock_state(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_in_flock(&self) {
        let result = self.file.take_lock();
        let mut waiting = self.lock_state();
        match &*waiting {
            Waiting::InFlock { wanted: true } => {
                *waiting = Waiting::Arrived(result);
                self.changed.notify_one();
            }
            _ => {
                if result.is_ok() {
                    let _ = self.file.give_lock_back();
                }
                *waiting = Waiting::Nobody;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Mode, RealDisk};
    use std::path::Path;
    use std::time::Duration;

    fn lock(path: &Path) -> DeadlineLock<std::fs::File> {
        let file = RealDisk::new().open(path, Mode::InPlace).unwrap();
        DeadlineLock::new("a.lock".into(), file, WaitEnd::default())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_held_lock_is_refused_at_the_deadline_and_taken_when_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let (ours, theirs) = (lock(&path), lock(&path));
        theirs.take(soon()).unwrap();
        assert!(matches!(ours.take(soon()), Err(LockError::Held(_))));
        assert!(matches!(ours.take(soon()), Err(LockError::Held(_))));
        let waiter = thread::spawn(move || ours.take(late()).map(|()| ours));
        theirs.give_back();
        let ours = waiter.join().unwrap().unwrap();
        assert!(matches!(theirs.take(soon()), Err(LockError::Held(_))));
        ours.give_back();
        theirs.take(late()).unwrap();
    }

    #[test]
    fn waiting_ends_when_the_instance_does_and_free_locks_can_be_had_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let (ours, theirs) = (lock(&path), lock(&path));
        let wait_end = ours.wait_end.clone();
        theirs.take(soon()).unwrap();
        let waiter = thread::spawn(move || {
            // For ever, if nobody ended it.
            let refused = ours.take(Instant::now() + Duration::from_secs(1_000_000));
            (ours, refused)
        });
        wait_end.set(Instant::now());
        let (ours, refused) = waiter.join().unwrap();
        assert!(matches!(refused, Err(LockError::Held(_))));
        assert!(matches!(ours.take(late()), Err(LockError::Held(_))));
        theirs.give_back();
        // The thread that still waited gives it back, now that nobody wants it.
        let given_back = late();
        while ours.take(late()).is_err() {
            assert!(Instant::now() < given_back, "it can be had again");
        }
    }

    #[test]
    fn a_lock_that_comes_too_late_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let (ours, theirs) = (lock(&path), lock(&path));
        theirs.take(soon()).unwrap();
        assert!(ours.take(soon()).is_err());
        theirs.give_back();
        theirs.take(late()).unwrap();
    }
}
