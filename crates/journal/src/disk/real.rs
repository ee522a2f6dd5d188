//! The machine's own file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::disk::one_flush::OneFlush;
use crate::disk::{BootId, Disk, DiskFile, FileId, Mode, SyncError};
use crate::limits::WAITER_STACK_BYTES;

/// The machine's own file system.
#[derive(Debug)]
pub struct RealDisk {
    boot: BootId,
    one_flush: Mutex<OneFlush>,
    syncer: Mutex<Syncer>,
}

/// A thread that syncs one file while its owner syncs another, where one flush is not enough for
/// both: two syncs at once take less than one after the other.
#[derive(Debug)]
struct Syncer {
    files: SyncSender<Arc<File>>,
    results: Receiver<io::Result<()>>,
}

impl Syncer {
    fn start() -> Self {
        let (files, to_sync) = sync_channel::<Arc<File>>(1);
        let (done, results) = sync_channel(1);
        let sync_each = move || to_sync.iter().try_for_each(|file| done.send(file.sync_data()));
        let thread = thread::Builder::new().name("sync".to_owned()).stack_size(WAITER_STACK_BYTES);
        // If the system has no more threads, nothing receives the files: see `sync_both`.
        let _ = thread.spawn(sync_each);
        Self { files, results }
    }

    /// Syncs both at the same time; without the thread, one after the other.
    fn sync_both(&self, here: &File, there: &Arc<File>) -> io::Result<()> {
        if self.files.send(Arc::clone(there)).is_err() {
            return here.sync_data().and_then(|()| there.sync_data());
        }
        let synced = here.sync_data();
        synced.and(self.results.recv().map_err(io::Error::other)?)
    }
}

impl RealDisk {
    /// The machine's file system. Where the system does not identify its run (Linux does), every run
    /// counts as the same: then what a *machine's* crash leaves in part is not cut.
    #[must_use]
    pub fn new() -> Self {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let boot = BootId(u128::from_str_radix(&digits, 16).unwrap_or_default());
        Self { boot, one_flush: Mutex::default(), syncer: Mutex::new(Syncer::start()) }
    }

    fn one_flush(&self) -> MutexGuard<'_, OneFlush> {
        self.one_flush.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for RealDisk {
    type File = File;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let writes = mode != Mode::Read;
        options.read(true).write(writes).create(writes).append(mode == Mode::Append);
        options.truncate(false).open(path).map_err(|e| naming(path, &e))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(|e| naming(path, &e))
    }

    fn find(&self, path: &Path) -> io::Result<Option<(FileId, u64)>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some((FileId(found.ino()), found.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(naming(path, &error)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| naming(from, &e))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| naming(path, &e))
    }

    fn sync_directory(&self, path: &Path) -> Result<(), SyncError> {
        let synced = File::open(path).and_then(|opened| opened.sync_all());
        synced.map_err(|e| SyncError(naming(path, &e)))
    }

    fn start_sync(&self, appended: &Arc<File>, in_place: &Arc<File>) -> Result<(), SyncError> {
        self.one_flush().start(appended, in_place).map_err(SyncError)
    }

    fn sync_both(&self, appended: &Arc<File>, in_place: &Arc<File>) -> Result<(), SyncError> {
        if self.one_flush().sync(appended, in_place).map_err(SyncError)? {
            return Ok(());
        }
        let syncer = self.syncer.lock().unwrap_or_else(PoisonError::into_inner);
        syncer.sync_both(appended, in_place).map_err(SyncError)
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

impl DiskFile for File {
    fn id(&self) -> io::Result<FileId> {
        Ok(FileId(self.metadata()?.ino()))
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        retry(|| FileExt::read_at(self, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        retry(|| FileExt::write_at(self, bytes, offset))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> Result<(), SyncError> {
        self.sync_data().map_err(SyncError)
    }

    fn try_take_lock(&self) -> io::Result<bool> {
        retry(|| match self.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        })
    }

    fn give_lock_back(&self) -> io::Result<()> {
        self.unlock()
    }
}

/// The system's errors do not say which file they are about.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A signal that arrives during a call does not make it fail.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
