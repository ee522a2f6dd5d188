//! A volume in memory: the least file system that the store works on, without faults or crashes.
//! Each run has it for itself, so that its locks are always free.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::disk::{BootId, Disk, DiskFile, FileId, Mode, SyncError};

/// This run of the machine.
pub const BOOT: BootId = BootId(0xb007);

/// The directory of the volume.
pub const VOLUME: &str = "volume";

#[derive(Default)]
struct Inode {
    id: u64,
    content: Mutex<Vec<u8>>,
    is_locked: AtomicBool,
}

/// An open file.
pub struct MemoryFile {
    inode: Arc<Inode>,
    /// Whether the lock is this handle's, which gives it back when it is closed.
    has_lock: AtomicBool,
}

/// See the module. Cheap to clone: all clones are one disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Arc<Inode>>>>,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// Puts `content` behind what a file of the volume has; says which file it is.
    pub fn append(&self, name: &str, content: &[u8]) -> FileId {
        let inode = self.inode(&Path::new(VOLUME).join(name));
        hold(&inode.content).extend_from_slice(content);
        FileId(inode.id)
    }

    /// The content of a file of the volume, empty if there is none.
    pub fn content(&self, name: &str) -> Vec<u8> {
        hold(&self.inode(&Path::new(VOLUME).join(name)).content).clone()
    }

    fn inode(&self, path: &Path) -> Arc<Inode> {
        let mut files = hold(&self.files);
        let id = files.len() as u64 + 1;
        let new = || Arc::new(Inode { id, ..Inode::default() });
        Arc::clone(files.entry(path.to_owned()).or_insert_with(new))
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<MemoryFile> {
        if mode == Mode::Read && self.find(path)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(MemoryFile { inode: self.inode(path), has_lock: AtomicBool::new(false) })
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<Option<(FileId, u64)>> {
        let found = hold(&self.files).get(path).cloned();
        Ok(found.map(|inode| (FileId(inode.id), hold(&inode.content).len() as u64)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = hold(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        hold(&self.files).remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _: &Path) -> Result<(), SyncError> {
        Ok(())
    }

    fn start_sync(&self, _: &Arc<MemoryFile>, _: &Arc<MemoryFile>) -> Result<(), SyncError> {
        Ok(())
    }

    fn sync_both(&self, _: &Arc<MemoryFile>, _: &Arc<MemoryFile>) -> Result<(), SyncError> {
        Ok(())
    }

    fn boot(&self) -> BootId {
        BOOT
    }
}

impl DiskFile for MemoryFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(FileId(self.inode.id))
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(hold(&self.inode.content).len() as u64)
    }

    fn has_name(&self) -> io::Result<bool> {
        // Nobody removes files here by hand.
        Ok(true)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = hold(&self.inode.content);
        let rest = usize::try_from(offset).ok().and_then(|from| content.get(from..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut content = hold(&self.inode.content);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        assert!(start <= content.len(), "no hole is written");
        let length = content.len().max(end);
        content.resize(length, 0);
        content[start..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        hold(&self.inode.content).resize(length, 0);
        Ok(())
    }

    fn sync(&self) -> Result<(), SyncError> {
        Ok(())
    }

    fn take_lock(&self) -> io::Result<()> {
        if self.try_take_lock()? { Ok(()) } else { Err(io::ErrorKind::Deadlock.into()) }
    }

    fn try_take_lock(&self) -> io::Result<bool> {
        let is_ours = !self.inode.is_locked.swap(true, Ordering::SeqCst);
        self.has_lock.fetch_or(is_ours, Ordering::SeqCst);
        Ok(is_ours)
    }

    fn give_lock_back(&self) -> io::Result<()> {
        if self.has_lock.swap(false, Ordering::SeqCst) {
            self.inode.is_locked.store(false, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let _ = self.give_lock_back();
    }
}
