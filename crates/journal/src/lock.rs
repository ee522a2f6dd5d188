//! A file's lock, waited for no longer than a deadline.
//!
//! `flock` has no deadline, so a lock that is held is tried again and again. At first the thread
//! only yields between two tries, because most holders give the lock back soon. Then it sleeps for
//! an eighth of the time that it has waited so far. So a waiter takes a free lock with little delay,
//! and a holder that is paused costs next to no processor time.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use crate::disk::DiskFile;
use crate::limits::{LOCK_TRY_TIMEOUT, LOCK_WAIT_STEP};

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
    file: F,
    wait_end: WaitEnd,
}

impl<F: DiskFile> DeadlineLock<F> {
    pub fn new(name: String, file: F, wait_end: WaitEnd) -> Self {
        Self { name, file, wait_end }
    }

    /// Takes the lock, until `deadline` at the latest. A free lock is taken also after that.
    pub fn take(&self, deadline: Instant) -> Result<(), LockError> {
        let since = Instant::now();
        while !self.file.try_take_lock().map_err(|e| self.refused(e))? {
            let (waited, end) = (since.elapsed(), self.wait_end.or_before(deadline));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::Held(self.name.clone()));
            }
            if waited < LOCK_TRY_TIMEOUT {
                thread::yield_now();
            } else {
                thread::sleep((waited / 8).min(LOCK_WAIT_STEP).min(left));
            }
        }
        Ok(())
    }

    /// The system's error about this lock.
    pub fn refused(&self, error: io::Error) -> LockError {
        LockError::System(self.name.clone(), error)
    }

    /// Gives the lock back. An error needs no answer: the lock's file stays open, and the system
    /// gives the lock back when it closes.
    pub fn give_back(&self) {
        let _ = self.file.give_lock_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Mode, RealDisk};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Two processes' views of one lock.
    fn locks() -> (tempfile::TempDir, [DeadlineLock<std::fs::File>; 2]) {
        let directory = tempfile::tempdir().unwrap();
        let open = |_| {
            let file = RealDisk::new().open(&directory.path().join("a.lock"), Mode::InPlace);
            DeadlineLock::new("a.lock".into(), file.unwrap(), WaitEnd::default())
        };
        let locks = [(); 2].map(open);
        (directory, locks)
    }

    #[test]
    fn a_held_lock_is_refused_at_the_deadline_and_taken_when_it_is_free() {
        let (_directory, [ours, theirs]) = locks();
        theirs.take(soon()).unwrap();
        for _ in 0..2 {
            let started = Instant::now();
            assert!(matches!(ours.take(soon()), Err(LockError::Held(_))));
            assert!(started.elapsed() >= Duration::from_millis(20), "{:?}", started.elapsed());
        }
        let waiter = thread::spawn(move || ours.take(late()).map(|()| ours));
        thread::sleep(Duration::from_millis(5));
        theirs.give_back();
        let ours = waiter.join().unwrap().unwrap();
        assert!(matches!(theirs.take(soon()), Err(LockError::Held(_))));
        ours.give_back();
        theirs.take(Instant::now()).expect("a free lock needs no time");
    }

    #[test]
    fn waiting_ends_when_the_instance_does() {
        let (_directory, [ours, theirs]) = locks();
        let wait_end = ours.wait_end.clone();
        theirs.take(soon()).unwrap();
        let waiter = thread::spawn(move || (ours.take(late()), ours));
        wait_end.set(Instant::now());
        let (refused, ours) = waiter.join().unwrap();
        assert!(matches!(refused, Err(LockError::Held(_))));
        theirs.give_back();
        ours.take(late()).expect("a free lock can still be taken");
    }
}
