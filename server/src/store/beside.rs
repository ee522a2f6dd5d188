//! What stands beside a log, in the directory of locks: its lock and its ring of intents.
//!
//! No instance removes them, but somebody else may while instances run. Whoever opens such a file
//! anew does not exclude those who hold the old one.
//!
//! **Invariant**: a lock counts as taken only if, when it is had, both files still have their
//! names. If others have the names now, those are opened, and the log is read anew. If none has,
//! the volume itself may be gone, unmounted or moved, and nothing is made in its place: what would
//! be stored there could be lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tracing::error;

use super::LOCKS;
use super::disk::{Disk, DiskFile, FileId, Mode};
use super::lock::{LockError, VolumeLock, WaitEnd};
use super::log::LogPaths;

/// The lock and the ring of a log.
pub(super) struct Beside<D: Disk> {
    disk: Arc<D>,
    directory: PathBuf,
    names: [&'static str; 2],
    wait_end: WaitEnd,
    /// Where they should be, and which files they are.
    files: [(PathBuf, FileId); 2],
    lock: VolumeLock<D::File>,
    pub(super) ring: Arc<D::File>,
    /// Whether these are other files than when the lock was last taken.
    is_new: bool,
}

impl<D: Disk> Beside<D> {
    /// Opens both, and makes what is missing.
    pub(super) fn open(disk: &Arc<D>, paths: &LogPaths, wait_end: &WaitEnd) -> io::Result<Self> {
        let (directory, names) = (paths.volume.join(LOCKS), [paths.lock, paths.ring]);
        Self::open_in(Arc::clone(disk), directory, names, wait_end.clone())
    }

    fn open_in(
        disk: Arc<D>,
        directory: PathBuf,
        names: [&'static str; 2],
        wait_end: WaitEnd,
    ) -> io::Result<Self> {
        let [lock, ring] = names.map(|name| directory.join(name));
        let (lock_file, ring_file) =
            (disk.open(&lock, Mode::InPlace)?, disk.open(&ring, Mode::InPlace)?);
        disk.sync_directory(&directory)?;
        let files = [(lock, lock_file.id()?), (ring, ring_file.id()?)];
        let name = format!("{LOCKS}/{}", names[0]);
        let lock = VolumeLock::new(name, lock_file, wait_end.clone());
        let ring = Arc::new(ring_file);
        Ok(Self { disk, directory, names, wait_end, files, lock, ring, is_new: false })
    }

    /// Takes the lock, until `deadline` at the latest; says whether these are other files than
    /// before, so that nothing holds that was known of the log.
    pub(super) fn take(&mut self, deadline: Instant) -> Result<bool, LockError> {
        loop {
            self.lock.take(deadline)?;
            let replaced = self.replaced();
            if matches!(replaced, Ok(None)) {
                return Ok(std::mem::take(&mut self.is_new));
            }
            self.lock.give_back();
            self.reopen(replaced).map_err(|e| self.lock.refused(e))?;
        }
    }

    fn reopen(&mut self, replaced: io::Result<Option<PathBuf>>) -> io::Result<()> {
        if let Some(path) = replaced? {
            tell(&path);
            let (disk, directory) = (Arc::clone(&self.disk), self.directory.clone());
            let opened = Self::open_in(disk, directory, self.names, self.wait_end.clone())?;
            *self = Self { is_new: true, ..opened };
        }
        Ok(())
    }

    /// Gives the lock back.
    pub(super) fn give_back(&self) {
        self.lock.give_back();
    }

    /// One of the files whose name another one has; an error if a name is nobody's.
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

fn tell(path: &Path) {
    error!(
        action = "lock",
        result = "fail",
        file = %path.display(),
        error = "it was replaced while servers run: whoever opened it since may have written at \
                 the same time, and rows may be stored twice or damaged",
        next = "goes on with the file that has this name now: compare `client status` of every \
                agency with its file, and never remove what is in locks",
    );
}
