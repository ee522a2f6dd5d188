//! A file system in memory whose operations can fail, whose processes can die at any operation,
//! and whose machine can crash.
//!
//! What was written is seen by every process at once; it is durable once it was synced. A crash keeps
//! of each change that was not synced all, nothing, or a part at either end, by a seed, and of
//! each name that was not synced the old or the new meaning.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking, and this is of tests"
)]

mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{FileId, Mode};

/// What happens at the operation with a given number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// It fails and does nothing.
    Fail,
    /// A write writes half of its bytes, and the next one fails: the disk is full. Anything else
    /// fails.
    Short,
    /// The process dies before it.
    Die,
    /// The process dies in it: a write writes half of its bytes. Anything else is done first.
    DieWithin,
    /// The machine crashes before it.
    Crash,
    /// The machine crashes after it.
    CrashAfter,
}

impl DiskFault {
    pub const ALL: [Self; 6] =
        [Self::Fail, Self::Short, Self::Die, Self::DieWithin, Self::Crash, Self::CrashAfter];
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    changes: Vec<Change>,
    content: Vec<u8>,
    holder: Option<u64>,
}

#[derive(Default)]
struct State {
    operations: u64,
    faults: Vec<(u64, DiskFault)>,
    /// Why nothing can be written, if so.
    unwritable: Option<io::ErrorKind>,
    only_syncs: bool,
    dead: Vec<u64>,
    crashed: bool,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    boot: u128,
    handles: u64,
    processes: u64,
    read_under_locks: usize,
}

/// The machine: all processes' [`SimulatedDisk`]s are of one.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<State>>);

/// The machine's file system, as one process uses it.
#[derive(Clone)]
pub struct SimulatedDisk {
    machine: Machine,
    process: u64,
}

pub struct SimulatedFile {
    disk: SimulatedDisk,
    handle: u64,
    inode: usize,
    mode: Mode,
}

impl Machine {
    /// Holds up every operation until it is dropped.
    pub fn hold(&self) -> impl Drop + use<'_> {
        self.state()
    }

    /// A new process.
    pub fn process(&self) -> SimulatedDisk {
        let mut state = self.state();
        state.processes += 1;
        SimulatedDisk { machine: self.clone(), process: state.processes }
    }

    /// Lets `fault` happen at operation `at`, counted from 1 and from the machine's first.
    pub fn fail_at(&self, at: u64, fault: DiskFault) {
        self.state().faults.push((at, fault));
    }

    /// From now on only syncs fail where something is to fail.
    pub fn only_syncs_fail(&self) {
        self.state().only_syncs = true;
    }

    /// Lets nothing happen any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many bytes were read by any process while any lock was held.
    pub fn read_under_locks(&self) -> usize {
        self.state().read_under_locks
    }

    /// Whether the machine has crashed and waits to be started.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// From now on every write fails so.
    pub fn refuse_writes(&self, kind: io::ErrorKind) {
        self.state().unwritable = Some(kind);
    }

    /// Gives the disk its space back, or lets it be written again.
    pub fn free_space(&self) {
        self.state().unwritable = None;
    }

    /// Starts the machine again after a crash. `seed` decides what is left of what was not
    /// durable.
    pub fn start(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Random(seed);
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.changes) {
                random.keep_part(&change).iter().for_each(|kept| kept.apply(&mut inode.durable));
            }
            inode.content = inode.durable.clone();
            inode.holder = None;
        }
        let names = state.names.clone();
        let mut kept = state.durable_names.clone();
        for (name, inode) in names {
            if random.next(2) == 0 {
                kept.retain(|_, other| *other != inode);
                kept.insert(name, inode);
            }
        }
        state.names = kept.clone();
        state.durable_names = kept;
        state.boot += 1;
        state.crashed = false;
        state.unwritable = None;
    }

    /// The content of a file, as every process sees it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|inode| state.inodes[*inode].content.clone())
    }

    /// Appends to a file as another program would, durably; returns which file it is.
    pub fn append(&self, path: &Path, content: &[u8]) -> FileId {
        let before = self.content(path).unwrap_or_default();
        self.put(path, &[&before, content].concat());
        file_id(self.state().inode_of(path))
    }

    /// Writes a file as another program would, durably.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut state = self.state();
        let inode = state.inode_of(path);
        let file = &mut state.inodes[inode];
        file.changes.clear();
        file.durable = content.to_vec();
        file.content = content.to_vec();
        state.durable_names.insert(path.to_owned(), inode);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Enough randomness for choosing what a crash leaves (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % below
    }

    fn keep_part(&mut self, change: &Change) -> Option<Change> {
        match (self.next(4), change) {
            (0, _) => None,
            (1, _) | (_, Change::Cut(_)) => Some(change.clone()),
            (2, Change::Write(at, bytes)) => {
                Some(Change::Write(*at, bytes[..self.next(bytes.len() + 1)].to_vec()))
            }
            (_, Change::Write(at, bytes)) => {
                let from = self.next(bytes.len() + 1);
                Some(Change::Write(*at + from as u64, bytes[from..].to_vec()))
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Cut(bytes) => content.truncate(*bytes as usize),
            Self::Write(_, bytes) if bytes.is_empty() => {}
            Self::Write(at, bytes) => {
                let (from, to) = (*at as usize, *at as usize + bytes.len());
                content.resize(content.len().max(to), 0);
                content[from..to].copy_from_slice(bytes);
            }
        }
    }
}

/// No file of a file system has the number 0.
fn file_id(inode: usize) -> FileId {
    FileId(inode as u64 + 1)
}

fn gone() -> io::Error {
    io::Error::other("simulated: the process is dead")
}

fn failed() -> io::Error {
    io::Error::other("simulated: the operation failed")
}

/// What an operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Sync,
    Other,
}

impl State {
    fn inode_of(&mut self, path: &Path) -> usize {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        self.inodes.push(Inode::default());
        self.names.insert(path.to_owned(), self.inodes.len() - 1);
        self.inodes.len() - 1
    }

    /// Does `work` as the next operation, with the fault that is to happen at it. `work` is told
    /// whether only half of it can be done, if it writes.
    fn operate<T>(
        &mut self,
        process: u64,
        kind: Kind,
        work: impl FnOnce(&mut Self, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.crashed || self.dead.contains(&process) {
            return Err(gone());
        }
        self.operations += 1;
        let now = self.faults.iter().find(|(at, _)| *at == self.operations);
        let spared = self.only_syncs && kind != Kind::Sync;
        let fault = now.map(|(_, fault)| *fault).filter(|it| *it != DiskFault::Fail || !spared);
        match fault {
            None if kind == Kind::Write => {
                self.unwritable.map_or(Ok(()), |kind| Err(io::Error::from(kind)))?;
            }
            Some(DiskFault::Short) if kind == Kind::Write => {
                self.unwritable = Some(io::ErrorKind::StorageFull);
            }
            Some(DiskFault::Fail | DiskFault::Short) => return Err(failed()),
            Some(before @ (DiskFault::Die | DiskFault::Crash)) => {
                return Err(self.end(process, before));
            }
            None | Some(DiskFault::DieWithin | DiskFault::CrashAfter) => {}
        }
        let done = work(self, matches!(fault, Some(DiskFault::Short | DiskFault::DieWithin)))?;
        match fault {
            Some(after @ (DiskFault::DieWithin | DiskFault::CrashAfter)) => {
                Err(self.end(process, after))
            }
            _ => Ok(done),
        }
    }

    fn end(&mut self, process: u64, fault: DiskFault) -> io::Error {
        match fault {
            DiskFault::Crash | DiskFault::CrashAfter => self.crashed = true,
            _ => self.dead.push(process),
        }
        gone()
    }
}
