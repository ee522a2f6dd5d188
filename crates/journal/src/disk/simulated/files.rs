//! The simulated machine's file system, operation by operation.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Change, Inode, Kind, SimulatedDisk, SimulatedFile, State, file_id};
use crate::disk::{BootId, Disk, DiskFile, FileId, Mode, SyncError};

impl SimulatedDisk {
    fn operate<T>(
        &self,
        kind: Kind,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.machine.state().operate(self.process, kind, |state, _| work(state))
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<SimulatedFile> {
        let (inode, handle) = self.operate(Kind::Other, |state| {
            state.handles += 1;
            if mode == Mode::Read && !state.names.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok((state.inode_of(path), state.handles))
        })?;
        Ok(SimulatedFile { disk: self.clone(), handle, inode, mode })
    }

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        self.operate(Kind::Other, |_| Ok(()))
    }

    fn find(&self, path: &Path) -> io::Result<Option<(FileId, u64)>> {
        self.operate(Kind::Other, |state| {
            let found = state.names.get(path).copied();
            Ok(found.map(|i| (file_id(i), state.inodes[i].content.len() as u64)))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(Kind::Other, |state| {
            let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(Kind::Other, |state| {
            state.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<(), SyncError> {
        let synced = self.operate(Kind::Sync, |state| {
            let within = |name: &Path| name.parent() == Some(path);
            state.durable_names.retain(|name, _| !within(name));
            let now = state.names.iter().filter(|(name, _)| within(name));
            let now: Vec<_> = now.map(|(name, inode)| (name.clone(), *inode)).collect();
            state.durable_names.extend(now);
            Ok(())
        });
        synced.map_err(SyncError)
    }

    /// Whatever is begun, a crash finds any part of it on the disk.
    fn start_sync(&self, _: &Arc<SimulatedFile>, _: &Arc<SimulatedFile>) -> Result<(), SyncError> {
        self.operate(Kind::Sync, |_| Ok(())).map_err(SyncError)
    }

    /// One after the other: so a crash finds what it finds with one flush, where none or both are
    /// durable and any part of either may be on the disk, and the first alone as well.
    fn sync_both(
        &self,
        appended: &Arc<SimulatedFile>,
        in_place: &Arc<SimulatedFile>,
    ) -> Result<(), SyncError> {
        appended.sync()?;
        in_place.sync()
    }

    fn boot(&self) -> BootId {
        BootId(self.machine.state().boot)
    }
}

impl SimulatedFile {
    fn operate<T>(&self, kind: Kind, work: impl FnOnce(&mut Inode) -> T) -> io::Result<T> {
        self.disk.operate(kind, |state| Ok(work(&mut state.inodes[self.inode])))
    }

    fn release(&self) {
        let holder = &mut self.disk.machine.state().inodes[self.inode].holder;
        *holder = holder.filter(|holder| *holder != self.handle);
    }
}

impl DiskFile for SimulatedFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(file_id(self.inode))
    }

    fn bytes(&self) -> io::Result<u64> {
        self.operate(Kind::Other, |inode| inode.content.len() as u64)
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.disk.machine.state().names.values().any(|inode| *inode == self.inode))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.operate(Kind::Other, |state| {
            let rest = state.inodes[self.inode].content.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            if state.inodes.iter().any(|inode| inode.holder.is_some()) {
                state.read_under_locks += count;
            }
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.machine.state();
        state.operate(self.disk.process, Kind::Write, |state, is_half| {
            let count = if is_half { bytes.len() / 2 } else { bytes.len() };
            let inode = &mut state.inodes[self.inode];
            let at = if self.mode == Mode::Append { inode.content.len() as u64 } else { offset };
            assert!(at <= inode.content.len() as u64, "no hole is written");
            let change = Change::Write(at, bytes[..count].to_vec());
            change.apply(&mut inode.content);
            inode.changes.push(change);
            Ok(count)
        })
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.operate(Kind::Other, |inode| {
            inode.content.resize(bytes as usize, 0);
            inode.changes.push(Change::Cut(bytes));
        })
    }

    fn sync(&self) -> Result<(), SyncError> {
        let synced = self.operate(Kind::Sync, |inode| {
            inode.changes.clear();
            inode.durable = inode.content.clone();
        });
        synced.map_err(SyncError)
    }

    fn try_take_lock(&self) -> io::Result<bool> {
        self.operate(Kind::Other, |inode| *inode.holder.get_or_insert(self.handle) == self.handle)
    }

    /// Cannot fail, and is no operation at which anything else can.
    fn give_lock_back(&self) -> io::Result<()> {
        self.release();
        Ok(())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.release();
    }
}
