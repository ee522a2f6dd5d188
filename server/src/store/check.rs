//! The check at the start that the volume's locks work.

use std::io;
use std::path::Path;

use super::LOCKS;
use super::disk::{Disk, DiskFile, Mode};

/// Makes sure that `flock` excludes on this volume: some file systems take it and do nothing,
/// and on those two instances would write at once.
///
/// # Errors
/// `Unsupported` if a lock was had twice; else as the system reports them.
pub(super) fn locks_work(disk: &impl Disk, volume: &Path) -> io::Result<()> {
    let path = volume.join(LOCKS).join("start.lock");
    let (one, other) = (disk.open(&path, Mode::InPlace)?, disk.open(&path, Mode::InPlace)?);
    // If it is held, another instance is starting, and the lock excludes.
    if one.try_take_lock()? && other.try_take_lock()? {
        let text = "flock does not exclude on this file system: choose another SHARED_VOLUME";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
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
