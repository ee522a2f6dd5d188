//! The check at the start that the volume's locks work.

use std::io;
use std::path::Path;

use super::LOCKS;
use super::disk::{Disk, DiskFile, Mode};

/// Makes sure that `flock` excludes on this volume: some file systems take it and do nothing,
/// and on those two instances would write at once.
///
/// # Errors
/// `Unsupported` if a lock was had twice or not at all; else as the system reports them.
pub(super) fn locks_work<D: Disk>(disk: &D, volume: &Path) -> io::Result<()> {
    let path = volume.join(LOCKS).join("start.lock");
    let (one, other) = (disk.open(&path, Mode::InPlace)?, disk.open(&path, Mode::InPlace)?);
    let take = |file: &D::File| file.try_take_lock().map_err(|error| broken(&error));
    // If it is held, another instance is starting, and the lock excludes.
    if take(&one)? && take(&other)? {
        let text = "flock does not exclude on this file system";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

/// Whatever the system says: without locks the volume is of no use.
fn broken(error: &io::Error) -> io::Error {
    let text = format!("flock does not work on this file system: {error}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::RealDisk;

    #[test]
    fn real_locks_work_also_while_another_instance_checks() {
        let volume = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        disk.create_directory(&volume.path().join(LOCKS)).unwrap();
        locks_work(&disk, volume.path()).unwrap();
        let held = disk.open(&volume.path().join("locks/start.lock"), Mode::InPlace).unwrap();
        assert!(held.try_take_lock().unwrap());
        locks_work(&disk, volume.path()).unwrap();
    }
}
