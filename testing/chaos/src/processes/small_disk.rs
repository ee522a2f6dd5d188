//! A small disk for a volume, which can be full for a while.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::own_mounts;

/// Some times what the bets of any run take.
const DISK_BYTES: u64 = 4 * 1024 * 1024;

/// A mounted disk; it goes when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk at the directory `path`, which is there; none where that is not granted.
    #[must_use]
    pub fn mount(path: &Path) -> Option<Self> {
        own_mounts::mount_disk(path, DISK_BYTES).then(|| Self { path: path.to_owned() })
    }

    /// Where it takes the space that nobody else is to have.
    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes all space but `left` bytes.
    ///
    /// # Errors
    /// The disk does something else than being full.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(self.filler())?;
        // A short write comes before the error: then there is no room for another byte.
        let full = io::copy(&mut io::repeat(0), &mut file).and_then(|_| file.flush());
        if let Err(error) = full
            && error.kind() != io::ErrorKind::StorageFull
        {
            return Err(error);
        }
        let bytes = file.metadata()?.len();
        file.set_len(bytes.saturating_sub(left))
    }

    /// Gives all space back.
    ///
    /// # Errors
    /// The space cannot be given back.
    pub fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        own_mounts::unmount(&self.path);
    }
}

/// Copies the files of a directory, and of those in it.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy_files(&path, &copy)? } else { fs::copy(&path, &copy).map(drop)? }
    }
    Ok(())
}
