//! The lock files of a log: its lock and its ring of intents.
//!
//! No process removes them, but an operator may while processes run. A process that opens the new
//! file does not exclude those that hold the old one.
//!
//! **Invariant**: a lock counts as taken only if, when it is taken, both files still have their
//! names. If other files have the names now, those are opened, and the log is read again from its
//! start. If no file has, the volume itself may be gone, unmounted or moved, and nothing is created
//! in its place: what would be stored there could be lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::disk::{Disk, DiskFile, FileId, Mode};
use crate::error::JournalError;
use crate::lock::{DeadlineLock, WaitEnd};

/// Where a log is, with its lock files.
#[derive(Debug, Clone)]
pub struct LogPaths {
    /// The directory of the log.
    pub directory: PathBuf,
    /// The log's name in it.
    pub log: &'static str,
    /// The name of the directory of lock files in it.
    pub locks: &'static str,
    /// The names of the lock and of the ring of intents, in the directory of lock files.
    pub lock: &'static str,
    /// See `lock`.
    pub ring: &'static str,
}

/// The lock and the ring of a log.
pub struct LockFiles<D: Disk> {
    disk: Arc<D>,
    paths: LogPaths,
    wait_end: WaitEnd,
    /// Where they should be, and which files they are.
    files: [(PathBuf, FileId); 2],
    lock: DeadlineLock<D::File>,
    pub ring: Arc<D::File>,
    /// Whether these are other files than when the lock was last taken.
    is_new: bool,
    /// A file that was replaced, until it is asked for.
    pub replaced: Option<PathBuf>,
}

impl<D: Disk> LockFiles<D> {
    /// Opens both, and creates what is missing.
    pub fn open(disk: Arc<D>, paths: LogPaths, wait_end: WaitEnd) -> io::Result<Self> {
        let directory = paths.directory.join(paths.locks);
        let [lock, ring] = [paths.lock, paths.ring].map(|name| directory.join(name));
        let (lock_file, ring_file) =
            (disk.open(&lock, Mode::InPlace)?, disk.open(&ring, Mode::InPlace)?);
        disk.sync_directory(&directory)?;
        let files = [(lock, lock_file.id()?), (ring, ring_file.id()?)];
        let name = format!("{}/{}", paths.locks, paths.lock);
        let lock = DeadlineLock::new(name, lock_file, wait_end.clone());
        let ring = Arc::new(ring_file);
        Ok(Self { disk, paths, wait_end, files, lock, ring, is_new: false, replaced: None })
    }

    /// Takes the lock, until `deadline` at the latest; says whether these are other files than
    /// before, so that nothing holds that was known of the log.
    pub fn take(&mut self, deadline: Instant) -> Result<bool, JournalError> {
        loop {
            self.lock.take(deadline)?;
            let replaced = self.replaced();
            if matches!(replaced, Ok(None)) {
                return Ok(std::mem::take(&mut self.is_new));
            }
            self.lock.give_back();
            self.reopen(replaced).map_err(|error| {
                let path = &self.paths.directory.join(self.paths.locks);
                JournalError::of(path, error, |_, error| self.lock.refused(error).into())
            })?;
        }
    }

    fn reopen(&mut self, replaced: io::Result<Option<PathBuf>>) -> io::Result<()> {
        if let Some(path) = replaced? {
            let (disk, paths) = (Arc::clone(&self.disk), self.paths.clone());
            self.replaced = Some(path);
            let opened = Self::open(disk, paths, self.wait_end.clone())?;
            *self = Self { is_new: true, replaced: self.replaced.take(), ..opened };
        }
        Ok(())
    }

    /// Gives the lock back.
    pub fn give_back(&self) {
        self.lock.give_back();
    }

    /// One of the files whose name another file has; an error if no file has it.
    fn replaced(&self) -> io::Result<Option<PathBuf>> {
        let mut replaced = None;
        for (path, id) in &self.files {
            match self.disk.find(path)? {
                Some((found, _)) if found == *id => {}
                Some(_) => replaced = Some(path.clone()),
                None => return Err(gone(path)),
            }
        }
        Ok(replaced)
    }
}

fn gone(path: &Path) -> io::Error {
    let text = "is gone: the volume was moved or unmounted, or the file was removed";
    io::Error::new(io::ErrorKind::NotFound, format!("{} {text}", path.display()))
}
