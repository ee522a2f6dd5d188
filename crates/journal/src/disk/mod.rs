//! What a log needs of a file system.
//!
//! Everything that is done to files goes through these two traits, so that a test can fail any
//! single operation, or crash between any two.

mod one_flush;
mod real;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// Which file a name stands for, or a handle holds: its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub u64);

/// Which run of the machine this is. Bytes that were written but not synced outlive a process,
/// but not the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootId(pub u128);

/// What was written may not be durable, and how much of it is, is unknown: the process must end.
/// The system reports such an error once; a second sync that succeeds proves nothing.
#[derive(Debug, thiserror::Error)]
#[error("sync: {0}")]
pub struct SyncError(pub io::Error);

impl From<SyncError> for io::Error {
    fn from(error: SyncError) -> Self {
        Self::new(error.0.kind(), error)
    }
}

impl SyncError {
    /// Whether `error` came from a sync.
    #[must_use]
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; it must be there.
    Read,
    /// At its end only.
    Append,
    /// Anywhere.
    InPlace,
}

/// A file system that holds a volume.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file for reading and, except for [`Mode::Read`], for writing; then it is created if it is
    /// missing.
    ///
    /// # Errors
    /// As the system reports them.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Self::File>;

    /// Makes a directory and those above it; that it is there already is fine.
    ///
    /// # Errors
    /// As the system reports them.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The file of this name, if there is one, and its length in bytes.
    ///
    /// # Errors
    /// As the system reports them, except for a missing file.
    fn find(&self, path: &Path) -> io::Result<Option<(FileId, u64)>>;

    /// Gives a file another name, in place of the file that may have it.
    ///
    /// # Errors
    /// As the system reports them.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system reports them.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the system reports them.
    fn sync_directory(&self, path: &Path) -> Result<(), SyncError>;

    /// Starts what [`Disk::sync_both`] of these files will end, where a device can work meanwhile.
    /// Nothing is durable by it.
    ///
    /// # Errors
    /// As the system reports them: a sync that has failed, which later ones need not report again.
    fn start_sync(
        &self,
        appended: &Arc<Self::File>,
        in_place: &Arc<Self::File>,
    ) -> Result<(), SyncError>;

    /// Makes what was written to both files durable, at the same time where that can be. One of
    /// them has been appended to; the other one was written in place, and is as long as when the
    /// caller synced it last.
    ///
    /// # Errors
    /// As the system reports them, for either file.
    fn sync_both(
        &self,
        appended: &Arc<Self::File>,
        in_place: &Arc<Self::File>,
    ) -> Result<(), SyncError>;

    /// This run of the machine.
    fn boot(&self) -> BootId;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// The file's identity.
    ///
    /// # Errors
    /// As the system reports them.
    fn id(&self) -> io::Result<FileId>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the system reports them.
    fn bytes(&self) -> io::Result<u64>;

    /// Whether the file has a name, any: one that was removed has none.
    ///
    /// # Errors
    /// As the system reports them.
    fn has_name(&self) -> io::Result<bool>;

    /// Reads up to the buffer's length at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// As the system reports them.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of `bytes`, at `offset` or, if the file was opened so, at its end; returns how
    /// many. A full disk shows as a short write first.
    ///
    /// # Errors
    /// As the system reports them.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file to `bytes`.
    ///
    /// # Errors
    /// As the system reports them.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Makes all that was written to the file durable, by whomever.
    ///
    /// # Errors
    /// As the system reports them.
    fn sync(&self) -> Result<(), SyncError>;

    /// Takes the file's exclusive lock if it is free; says whether it did.
    ///
    /// # Errors
    /// As the system reports them.
    fn try_take_lock(&self) -> io::Result<bool>;

    /// Gives the lock back.
    ///
    /// # Errors
    /// As the system reports them.
    fn give_lock_back(&self) -> io::Result<()>;
}

/// Reads exactly `buffer`, or says that the file ends before.
///
/// # Errors
/// As the system reports them; `UnexpectedEof` if the file is too short.
pub fn read_exactly(
    file: &impl DiskFile,
    mut buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buffer.is_empty() {
        let count = file.read_at(buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = buffer.get_mut(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}

/// Writes all of `bytes`, going on after short writes.
///
/// # Errors
/// As the system reports them; then a part may be written.
pub fn write_all(file: &impl DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = file.write_at(bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}
