//! A log: append under the lock, and apply what others appended.
//!
//! A log is a text file of lines that several processes append to, with a lock file and a ring of
//! intents ([`crate::lock_files`]). What a process knows of a log it applies from the file, line by
//! line: under the lock it reads what others appended since it last looked.
//!
//! **Invariant**: only the holder of the lock writes. [`Locked`] is the held lock; appending is a
//! method of it and of nothing else, so that an unlocked append does not compile. While a [`Locked`]
//! exists, the log consists of whole groups, and all of them are applied except the one that it has
//! appended itself.

mod positions;
mod recovery;

use std::io;
use std::mem;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use positions::Positions;

use crate::disk::{Disk, DiskFile, FileId, Mode, read_exactly, write_all};
use crate::error::JournalError;
use crate::intents::Intents;
use crate::limits::{BEHIND_BYTES_MAX, DAMAGED_REPORTED_MAX, READ_BYTES};
use crate::lines::for_each_block;
use crate::lock::WaitEnd;
use crate::lock_files::{LockFiles, LogPaths};
use crate::scan::{scan, threads_for};

/// What the lines of a log are applied to.
pub trait Fold {
    /// Applies the first of `lines`, which is not empty and begins at `offset` in the file. Returns how many bytes it has, with its
    /// `\n` if there is one, and whether it made sense.
    fn first_line(&mut self, offset: u64, lines: &[u8]) -> (usize, bool);

    /// Forgets everything: the log starts again.
    fn reset(&mut self);
}

/// How another system writes the log, which knows no intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OthersWrite {
    /// Rows that end in `\r\n`, as none of ours does. A last line without its end is torn.
    Rows,
    /// Lines as ours are, each ended by `\n`; a line more than there should be does no harm. A last
    /// line without its end, as an editor may leave it, is whole.
    Lines,
}

impl OthersWrite {
    /// Whether `line`, with its end, may be another system's.
    #[must_use]
    pub fn may_be(self, line: &[u8]) -> bool {
        line.ends_with(match self {
            Self::Rows => b"\r\n",
            Self::Lines => b"\n",
        })
    }
}

/// What was found when the lock was taken and the log was read.
#[derive(Debug, Default)]
pub struct Found {
    /// A lock file that was replaced: processes that opened the new one since may have written at
    /// the same time.
    pub replaced_lock_file: Option<PathBuf>,
    /// What was cut off.
    pub cuts: Vec<Cut>,
    /// Lines that make no sense: the first [`DAMAGED_REPORTED_MAX`] of the log.
    pub damaged: Vec<Damaged>,
}

/// What was cut off the log's end.
#[derive(Debug)]
pub struct Cut {
    /// Where it started, in bytes.
    pub offset: u64,
    /// How long it was, in bytes.
    pub bytes: u64,
    /// What it was.
    pub what: &'static str,
    /// Whether the file was changed by hand before; else nothing of it was acknowledged.
    pub is_changed: bool,
}

/// A line that makes no sense, and counts for nothing.
#[derive(Debug)]
pub struct Damaged {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Whether further ones are not reported.
    pub is_last: bool,
}

/// What had been applied of a log and is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExternalChange {
    /// How long the log was, in bytes.
    pub bytes: u64,
    /// Whether its file has another name now, as a log has that was archived.
    pub is_renamed: bool,
}

/// A log and how far it is known.
pub struct Log<D: Disk> {
    disk: Arc<D>,
    directory: PathBuf,
    path: PathBuf,
    others: OthersWrite,
    lock_files: LockFiles<D>,
    file: Arc<D::File>,
    file_id: FileId,
    positions: Positions,
    /// The ring as it was when the lock was last held.
    intents: Intents,
    /// Room for what is read to be applied.
    block: Vec<u8>,
    /// Whether the log starts again, so that what was applied has to be forgotten.
    is_reset: bool,
    /// Whether the applied lines end without `\n`.
    ends_open: bool,
    /// How many damaged lines there are.
    damaged: u64,
    found: Found,
    /// Kept until it is asked for: several logs may have changed at once, and the lock of one may
    /// be taken long before that of another.
    change: Option<ExternalChange>,
}

impl<D: Disk> Log<D> {
    /// Opens the log, and creates its files if they are missing. After `wait_end` no lock is waited
    /// for.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn open(
        disk: Arc<D>,
        paths: LogPaths,
        wait_end: &WaitEnd,
        others: OthersWrite,
    ) -> io::Result<Self> {
        let (directory, path) = (paths.directory.clone(), paths.directory.join(paths.log));
        let lock_files = LockFiles::open(Arc::clone(&disk), paths, wait_end.clone())?;
        let file = Arc::new(disk.open(&path, Mode::Append)?);
        disk.sync_directory(&directory)?;
        Ok(Self {
            disk,
            directory,
            path,
            others,
            lock_files,
            file_id: file.id()?,
            file,
            positions: Positions::default(),
            intents: Intents::none(),
            block: Vec::new(),
            is_reset: false,
            ends_open: false,
            damaged: 0,
            found: Found::default(),
            change: None,
        })
    }

    /// Where the log is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How much of the log is applied, in bytes.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.positions.applied
    }

    /// Whether the file is another one, or longer or shorter, than what was applied.
    ///
    /// # Errors
    /// [`JournalError::Read`].
    pub fn has_changed(&self) -> Result<bool, JournalError> {
        let found = self.disk.find(&self.path).map_err(|e| self.error_of(e))?;
        Ok(found != Some((self.file_id, self.positions.applied)))
    }

    /// What was found and not returned by [`Log::lock`], because that failed.
    pub fn take_found(&mut self) -> Found {
        self.found.replaced_lock_file = self.lock_files.replaced.take();
        mem::take(&mut self.found)
    }

    /// Takes the lock, until `deadline` at the latest, recovers what a dead writer left, and
    /// applies what others appended.
    ///
    /// # Errors
    /// [`JournalError`]: the lock is not held then.
    pub fn lock(
        &mut self,
        deadline: Instant,
        fold: &mut impl Fold,
    ) -> Result<(Locked<'_, D>, Found), JournalError> {
        let (mut locked, bytes) = self.lock_and_recover(deadline)?;
        locked.catch_up(bytes, fold).map_err(|e| locked.log.error_of(e))?;
        let found = locked.log.take_found();
        Ok((locked, found))
    }

    /// Reads a log that is far behind without any lock, so that no process waits for it. Bytes that
    /// were whole under the lock are not cut later, so they can be read without it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn approach(
        &mut self,
        deadline: Instant,
        fold: &mut impl Fold,
    ) -> Result<(), JournalError> {
        let behind = self.file.bytes().map(|bytes| bytes.saturating_sub(self.positions.applied));
        if behind.map_err(|e| self.error_of(e))? <= BEHIND_BYTES_MAX {
            return Ok(());
        }
        let (locked, bytes) = self.lock_and_recover(deadline)?;
        locked.log.positions.append(bytes);
        drop(locked);
        self.apply_to(bytes, fold).map_err(|e| self.error_of(e))
    }

    /// Takes the lock and recovers; returns how long the log is, in bytes.
    fn lock_and_recover(
        &mut self,
        deadline: Instant,
    ) -> Result<(Locked<'_, D>, u64), JournalError> {
        let is_new = self.lock_files.take(deadline)?;
        let mut locked = Locked { log: self };
        if is_new {
            locked.log.intents = Intents::none();
            locked.start_again();
        }
        let bytes = locked.recover().map_err(|e| locked.log.error_of(e))?;
        Ok((locked, bytes))
    }

    /// Everything that this process appended under its last lock has been applied by the caller.
    /// The lock may have been given back: what others append stands behind it.
    pub fn mark_applied(&mut self) {
        if self.positions.applied < self.positions.appended {
            self.ends_open = false;
        }
        self.positions.apply(self.positions.appended);
    }

    /// Starts to make durable what was appended, while there is something else to do.
    ///
    /// # Errors
    /// [`JournalError::Broken`].
    pub fn start_sync(&self) -> Result<(), JournalError> {
        if self.positions.is_durable() {
            return Ok(());
        }
        let started = self.disk.start_sync(&self.file, &self.lock_files.ring);
        started.map_err(|e| self.error_of(e.into()))
    }

    /// Makes everything that is known of the log durable, and the intents of it.
    ///
    /// # Errors
    /// [`JournalError::Broken`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.positions.is_durable() {
            return Ok(());
        }
        let synced = match self.positions.fence() {
            Some(_) => self.disk.sync_both(&self.file, &self.lock_files.ring),
            // Without a fence this process has never synced the ring, so it cannot rely on one flush
            // for both files.
            None => self.file.sync().and_then(|()| self.lock_files.ring.sync()),
        };
        synced.map_err(|e| self.error_of(e.into()))?;
        self.positions.make_durable(self.intents.sequence());
        Ok(())
    }

    /// Hands the applied lines from `start`, where one begins, to `visit`, some at a time, until it
    /// returns false.
    ///
    /// # Errors
    /// [`JournalError::Read`].
    pub fn read_from(
        &mut self,
        mut start: u64,
        mut visit: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), JournalError> {
        let (mut block, mut goes_on) = (mem::take(&mut self.block), true);
        let mut read = Ok(());
        while goes_on && start < self.positions.applied {
            let range = start..self.positions.applied.min(start + READ_BYTES);
            match for_each_block(&*self.file, range, &mut block, |lines| goes_on &= visit(lines)) {
                Ok(end) if end > start => start = end,
                Ok(_) => break,
                Err(error) => {
                    read = Err(self.error_of(error));
                    break;
                }
            }
        }
        self.block = block;
        read
    }

    /// Applies the whole lines up to `end`. What follows the last of them is not applied.
    fn apply_to(&mut self, end: u64, fold: &mut impl Fold) -> io::Result<()> {
        if mem::take(&mut self.is_reset) {
            fold.reset();
        }
        let (file, mut block) = (Arc::clone(&self.file), mem::take(&mut self.block));
        let range = self.positions.applied..end;
        let read = for_each_block(&*file, range, &mut block, |lines| self.apply_lines(lines, fold));
        self.block = block;
        read.map(|_| ())
    }

    /// Applies whole lines that stand where the applied ones end.
    fn apply_lines(&mut self, lines: &[u8], fold: &mut impl Fold) {
        let (mut rest, end) = (lines, self.positions.applied + lines.len() as u64);
        while !rest.is_empty() {
            let (bytes, makes_sense) = match rest {
                [b'\n', ..] => (1, true),
                _ => fold.first_line(end - rest.len() as u64, rest),
            };
            if !makes_sense {
                self.add_damaged(lines.len() - rest.len());
            }
            rest = rest.get(bytes..).unwrap_or_default();
        }
        self.positions.apply(end);
        self.ends_open = match lines.last() {
            Some(last) => *last != b'\n',
            None => self.ends_open,
        };
    }

    fn add_damaged(&mut self, start: usize) {
        self.damaged += 1;
        if self.damaged <= DAMAGED_REPORTED_MAX {
            let offset = self.positions.applied + start as u64;
            let is_last = self.damaged == DAMAGED_REPORTED_MAX;
            self.found.damaged.push(Damaged { offset, is_last });
        }
    }

    fn error_of(&self, error: io::Error) -> JournalError {
        JournalError::of(&self.path, error, JournalError::Read)
    }
}

/// A log whose lock is held.
pub struct Locked<'l, D: Disk> {
    log: &'l mut Log<D>,
}

impl<D: Disk> Drop for Locked<'_, D> {
    fn drop(&mut self) {
        self.log.lock_files.give_back();
    }
}

impl<D: Disk> Deref for Locked<'_, D> {
    type Target = Log<D>;

    fn deref(&self) -> &Log<D> {
        self.log
    }
}

impl<D: Disk> Locked<'_, D> {
    /// The log's length, in bytes.
    ///
    /// # Errors
    /// [`JournalError::Read`].
    pub fn bytes(&self) -> Result<u64, JournalError> {
        self.log.file.bytes().map_err(|e| self.log.error_of(e))
    }

    /// What had been applied of the log and is not there any more, since this was last asked.
    pub fn take_external_change(&mut self) -> Option<ExternalChange> {
        self.log.change.take()
    }

    /// As [`Log::sync`], with the lock held.
    ///
    /// # Errors
    /// [`JournalError::Broken`].
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.log.sync()
    }

    /// Writes the intent to append `lines`, behind a durable fence: without both, a crash could
    /// leave a part of them.
    ///
    /// # Errors
    /// [`JournalError::Append`], or [`JournalError::Broken`] if the fence's sync failed.
    pub fn write_intent(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        let offset = self.log.positions.applied;
        let written = self.ensure_fence().and_then(|()| self.intend(offset, lines));
        written.map_err(|e| self.not_appended(lines, e))
    }

    /// Appends whole lines whose intent was written, all of them or none. They are not durable
    /// before [`Log::sync`], and the caller applies them: see [`Log::mark_applied`].
    ///
    /// # Errors
    /// [`JournalError::Append`], or [`JournalError::Broken`] if a part could not be cut off.
    ///
    /// # Panics
    /// If the newest intent is not of these lines.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        let (offset, length) = (self.log.positions.applied, lines.len() as u64);
        let intent = self.log.intents.newest().map(|newest| (newest.offset, newest.bytes));
        assert_eq!(intent, Some((offset, length)), "an intent comes before its group");
        let Err(error) = write_all(&*self.log.file, lines, offset) else {
            self.log.positions.append(offset + length);
            return Ok(());
        };
        self.log.file.truncate(offset).map_err(|error| {
            let path = self.log.path.clone();
            JournalError::Broken { doing: "cut back", path, error }
        })?;
        // Says at once that nothing is pending. If that fails, too, the next process that takes the
        // lock finds no byte of the group, and has nothing to cut.
        let _ = self.intend(offset, b"");
        Err(self.not_appended(lines, error))
    }

    /// What must stand before the next line so that it is a line of its own.
    #[must_use]
    pub fn separator(&self) -> &'static str {
        if self.log.ends_open { "\n" } else { "" }
    }

    /// Passes over the whole log, in parts on several threads: see [`scan`].
    ///
    /// # Errors
    /// [`JournalError::Read`].
    pub fn scan<T: Send>(
        &self,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, &[u8]) + Sync,
    ) -> Result<Vec<T>, JournalError> {
        let end = self.log.positions.applied;
        let scanned = scan(&*self.log.file, end, threads_for(end), start, visit);
        scanned.map_err(|e| self.log.error_of(e))
    }

    /// Gives the log's file another name, durably except for the directories; the log starts again.
    ///
    /// # Errors
    /// [`JournalError::Read`].
    pub fn move_to(&mut self, path: &Path) -> Result<(), JournalError> {
        let moved = self.log.disk.rename(&self.log.path, path);
        moved.and_then(|()| self.reopen_if_replaced().map(drop)).map_err(|e| self.log.error_of(e))
    }

    /// Makes everything durable, and forgets the intents: nothing is pending, and an operator who
    /// edits the log by hand, with all processes stopped, finds no intents that contradict it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn settle(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        let log = &mut *self.log;
        let settled = log.intents.settle(&*log.lock_files.ring, log.disk.boot());
        settled.map_err(|e| self.log.error_of(e))
    }

    /// Applies what stands up to the log's `end`, and cuts off what is torn there.
    fn catch_up(&mut self, end: u64, fold: &mut impl Fold) -> io::Result<()> {
        self.log.positions.append(end);
        self.log.apply_to(end, fold)?;
        let applied = self.log.positions.applied;
        let rest = end - applied;
        match self.log.others {
            OthersWrite::Rows if rest > 0 => {
                // Otherwise the ring would still say that a group of ours ends behind this place, and
                // the next holder of the lock would cut rows that count now.
                self.intend(applied, b"")?;
                self.cut(applied, "a last line without its end")?;
                self.log.positions.cut(applied);
            }
            OthersWrite::Lines if rest > 0 => {
                let mut line = vec![0; usize::try_from(rest).map_err(io::Error::other)?];
                read_exactly(&*self.log.file, &mut line, applied)?;
                self.log.apply_lines(&line, fold);
            }
            _ => {}
        }
        Ok(())
    }

    /// An operator may have moved the log away since, or another file to its place. Returns how
    /// long the log is, in bytes.
    fn reopen_if_replaced(&mut self) -> io::Result<u64> {
        let log = &mut *self.log;
        if let Some((id, bytes)) = log.disk.find(&log.path)?
            && id == log.file_id
        {
            return Ok(bytes);
        }
        let is_renamed = log.file.has_name()?;
        log.file = Arc::new(log.disk.open(&log.path, Mode::Append)?);
        log.disk.sync_directory(&log.directory)?;
        log.file_id = log.file.id()?;
        self.note_external_change(is_renamed);
        self.log.file.bytes()
    }

    /// What was applied is not there any more; `is_renamed` if its file is somewhere else.
    fn note_external_change(&mut self, is_renamed: bool) {
        let now = ExternalChange { bytes: self.log.positions.applied, is_renamed };
        self.log.change = Some(self.log.change.map_or(now, |before| ExternalChange {
            bytes: before.bytes.max(now.bytes),
            is_renamed: before.is_renamed && now.is_renamed,
        }));
        self.start_again();
    }

    fn start_again(&mut self) {
        self.log.positions = Positions::default();
        self.log.is_reset = true;
        self.log.ends_open = false;
        self.log.damaged = 0;
    }

    fn not_appended(&self, lines: &[u8], error: io::Error) -> JournalError {
        let bytes = lines.len() as u64;
        let otherwise = |path, error| JournalError::Append { path, bytes, error };
        JournalError::of(&self.log.path, error, otherwise)
    }
}
