//! The check at the start that the locks of a file system work.

use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskFile, Mode};

/// Makes sure with a file in `directory` that `flock` excludes: some file systems accept it and do
/// nothing, and on those two processes would write at once.
///
/// # Errors
/// `Unsupported` if a lock was taken twice or not at all; else as the system reports them.
pub fn locks_work<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    let path = directory.join("start.lock");
    let (one, other) = (disk.open(&path, Mode::InPlace)?, disk.open(&path, Mode::InPlace)?);
    let take = |file: &D::File| file.try_take_lock().map_err(|error| broken(&error));
    // If it is held, another instance is starting, and the lock excludes.
    if take(&one)? && take(&other)? {
        let text = "flock does not exclude on this file system";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

/// Whatever the system reports: without locks the directory is of no use.
fn broken(error: &io::Error) -> io::Error {
    let text = format!("flock does not work on this file system: {error}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn real_locks_work_also_while_another_instance_checks() {
        let locks = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        locks_work(&disk, locks.path()).unwrap();
        let held = disk.open(&locks.path().join("start.lock"), Mode::InPlace).unwrap();
        assert!(held.try_take_lock().unwrap());
        locks_work(&disk, locks.path()).unwrap();
    }
}
