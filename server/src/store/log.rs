//! A log on the volume: append under lock, fold, hint.
//!
//! A log is a text file of lines that several instances append to, with a lock file and a ring of
//! intents beside it. What an instance knows of a log is folded from the file, line by line, and
//! nothing else: reading under the lock what others appended since it last looked. The bets are
//! such a log, and the agencies' closes are one.
//!
//! **Invariant**: only who holds the lock writes. [`Locked`] is the lock held; appending is a
//! method of it and of nothing else, so that an unlocked append does not compile. Whoever has a
//! [`Locked`] sees a log of whole groups, folded to its end, but for what it has appended itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{io, mem};

use tracing::error;

use super::beside::Beside;
use super::disk::{Disk, DiskFile, FileId, Mode, read_exactly, write_all};
use super::intent::Intents;
use super::lines::for_each_block;
use super::lock::WaitEnd;
use super::log_error::LogError;
use super::lost::Lost;
use super::mend::OthersWrite;
use super::scan;
use crate::limits::{BEHIND_BYTES_MAX, DAMAGED_TOLD_MAX};

/// What is known of a log, as a fold over its lines.
pub(crate) trait Fold {
    /// Takes the first of `lines`, which is not empty. Says how many bytes it has, with its `\n` if
    /// there is one, and whether it made sense.
    fn first_line(&mut self, lines: &[u8]) -> (usize, bool);

    /// Forgets everything: the log starts anew.
    fn reset(&mut self);
}

/// Where a log lives.
pub(crate) struct LogPaths {
    /// The directory of the volume.
    pub(crate) volume: PathBuf,
    /// The log's name in it.
    pub(crate) log: &'static str,
    /// The names of its lock and of its ring of intents, in the directory of locks.
    pub(crate) lock: &'static str,
    pub(crate) ring: &'static str,
}

/// A log and what is known of it.
pub(crate) struct Log<D: Disk, F> {
    pub(super) disk: Arc<D>,
    volume: PathBuf,
    pub(super) path: PathBuf,
    pub(super) others: OthersWrite,
    pub(super) beside: Beside<D>,
    pub(super) file: Arc<D::File>,
    pub(super) file_id: FileId,
    fold: F,
    /// Room for what is read to be folded.
    block: Vec<u8>,
    /// The log up to here is folded, in bytes.
    pub(super) folded: u64,
    /// Where what this instance has appended last ends, in bytes.
    appended: u64,
    /// The log up to here is known to be durable, in bytes, with the intents that belong to it.
    durable: u64,
    /// The intent, by its sequence number, that this instance itself has made durable last.
    pub(super) fence: Option<u64>,
    /// The ring as it was when the lock was last held.
    pub(super) intents: Intents,
    /// Whether the folded lines end without `\n`.
    ends_open: bool,
    /// How many damaged lines were folded.
    damaged: u64,
    /// What had been folded and is not there any more, until it is asked for.
    pub(super) lost: Option<Lost>,
}

impl<D: Disk, F: Fold> Log<D, F> {
    /// Opens the log, and makes its files if they are missing. After `wait_end` nobody waits for
    /// its lock.
    pub(crate) fn open(
        disk: Arc<D>,
        paths: &LogPaths,
        wait_end: &WaitEnd,
        others: OthersWrite,
        fold: F,
    ) -> io::Result<Self> {
        let beside = Beside::open(&disk, paths, wait_end)?;
        let path = paths.volume.join(paths.log);
        let file = Arc::new(disk.open(&path, Mode::Append)?);
        disk.sync_directory(&paths.volume)?;
        Ok(Self {
            beside,
            volume: paths.volume.clone(),
            file_id: file.id()?,
            disk,
            path,
            others,
            file,
            fold,
            block: Vec::new(),
            folded: 0,
            appended: 0,
            durable: 0,
            fence: None,
            intents: Intents::none(),
            ends_open: false,
            damaged: 0,
            lost: None,
        })
    }

    /// What is known of the log as it was last folded.
    pub(crate) fn known(&self) -> &F {
        &self.fold
    }

    /// The log's length as it was last folded, in bytes.
    pub(crate) fn bytes_known(&self) -> u64 {
        self.folded
    }

    /// Whether the file is another one, or longer or shorter, than what was folded.
    pub(crate) fn has_changed(&self) -> Result<bool, LogError> {
        let found = self.disk.find(&self.path).map_err(|e| self.unreadable(e))?;
        Ok(found != Some((self.file_id, self.folded)))
    }

    /// Takes the lock, until `deadline` at the latest, mends what a dead writer left, and folds
    /// what others appended.
    pub(crate) fn lock(&mut self, deadline: Instant) -> Result<Locked<'_, D, F>, LogError> {
        let (mut locked, bytes) = self.lock_and_mend(deadline)?;
        locked.catch_up(bytes).map_err(|e| locked.log.unreadable(e))?;
        Ok(locked)
    }

    /// A log that is far behind is read in two goes, the long one before [`Log::lock`] and without
    /// any lock, so that nobody waits for it. What whoever had the lock saw as whole stays.
    pub(crate) fn approach(&mut self, deadline: Instant) -> Result<(), LogError> {
        let behind = self.file.bytes().map(|bytes| bytes.saturating_sub(self.folded));
        if behind.map_err(|e| self.unreadable(e))? <= BEHIND_BYTES_MAX {
            return Ok(());
        }
        let (locked, bytes) = self.lock_and_mend(deadline)?;
        drop(locked);
        self.fold_to(bytes).map_err(|e| self.unreadable(e))
    }

    /// Takes the lock and mends; says how long the log is, in bytes.
    fn lock_and_mend(&mut self, deadline: Instant) -> Result<(Locked<'_, D, F>, u64), LogError> {
        let is_new = self.beside.take(deadline)?;
        let mut locked = Locked { log: self };
        if is_new {
            locked.log.intents = Intents::none();
            locked.start_anew();
        }
        let bytes = locked.mend().map_err(|e| locked.log.unreadable(e))?;
        Ok((locked, bytes))
    }

    /// Folds what this instance has just appended, or the next part of it. The lock may have been
    /// given back, if it was not taken again: what others append stands behind it.
    pub(crate) fn fold_appended(&mut self, lines: &[u8]) {
        let end = self.folded + lines.len() as u64;
        debug_assert!(lines.is_empty() || end <= self.appended, "what was appended is folded once");
        self.fold_lines(lines);
    }

    /// Begins to make durable what was appended, while there is something else to do.
    pub(crate) fn begin_sync(&self) -> Result<(), LogError> {
        let begun = self.disk.begin_sync(&self.file, &self.beside.ring);
        begun.map_err(|e| self.unreadable(e.into()))
    }

    /// Makes everything that is folded durable, and the intents of it.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if self.is_durable() {
            return Ok(());
        }
        let synced = match self.fence {
            Some(_) => self.disk.sync_both(&self.file, &self.beside.ring),
            // Who made the ring may have died before it was durable that there is one.
            None => self.file.sync().and_then(|()| self.beside.ring.sync()),
        };
        synced.map_err(|e| self.unreadable(e.into()))?;
        self.durable = self.folded;
        self.fence = Some(self.intents.sequence());
        Ok(())
    }

    /// Whether everything that is folded is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable >= self.folded
    }

    /// Folds the whole lines up to `end`. What follows the last of them is left unfolded.
    fn fold_to(&mut self, end: u64) -> io::Result<()> {
        let (file, mut block) = (Arc::clone(&self.file), mem::take(&mut self.block));
        let read =
            for_each_block(&*file, self.folded..end, &mut block, |lines| self.fold_lines(lines));
        self.block = block;
        read.map(|_| ())
    }

    /// Folds whole lines that stand where the folded ones end.
    fn fold_lines(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let (bytes, makes_sense) = match rest {
                [b'\n', ..] => (1, true),
                _ => self.fold.first_line(rest),
            };
            if !makes_sense {
                self.tell_damaged(lines.len() - rest.len());
            }
            rest = rest.get(bytes..).unwrap_or_default();
        }
        self.folded += lines.len() as u64;
        self.ends_open = match lines.last() {
            Some(last) => *last != b'\n',
            None => self.ends_open,
        };
    }

    fn tell_damaged(&mut self, start: usize) {
        self.damaged += 1;
        if self.damaged <= DAMAGED_TOLD_MAX {
            error!(
                action = "read_log",
                result = "fail",
                file = %self.path.display(),
                offset = self.folded + start as u64,
                error = "a damaged line, which no instance of ours writes; it counts for nothing",
                last = self.damaged == DAMAGED_TOLD_MAX,
            );
        }
    }

    pub(super) fn unreadable(&self, error: io::Error) -> LogError {
        LogError::of(&self.path, error, LogError::Read)
    }

    fn not_appended(&self, error: io::Error) -> LogError {
        LogError::of(&self.path, error, LogError::Append)
    }

    fn broken(&self, doing: &'static str, error: io::Error) -> LogError {
        LogError::Broken { doing, path: self.path.clone(), error }
    }
}

/// A log whose lock is held.
pub(crate) struct Locked<'l, D: Disk, F: Fold> {
    pub(super) log: &'l mut Log<D, F>,
}

impl<D: Disk, F: Fold> Drop for Locked<'_, D, F> {
    fn drop(&mut self) {
        self.log.beside.give_back();
    }
}

impl<D: Disk, F: Fold> Locked<'_, D, F> {
    /// What the log says.
    pub(crate) fn fold(&self) -> &F {
        &self.log.fold
    }

    /// The log's length, in bytes.
    pub(crate) fn bytes(&self) -> Result<u64, LogError> {
        self.log.file.bytes().map_err(|e| self.log.unreadable(e))
    }

    /// As [`Log::sync`], with the lock held.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.log.sync()
    }

    /// Appends whole lines, all of them or none; they are not durable before [`Log::sync`], and
    /// known only after [`Log::fold_appended`].
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), LogError> {
        let offset = self.log.folded;
        let intended = self.arm().and_then(|()| self.intend(offset, lines));
        intended.map_err(|e| self.log.not_appended(e))?;
        let Err(error) = write_all(&*self.log.file, lines, offset) else {
            self.log.appended = offset + lines.len() as u64;
            return Ok(());
        };
        self.log.file.truncate(offset).map_err(|e| self.log.broken("cut back", e))?;
        // Best known at once that nothing is pending; if that fails, too, the next who takes the
        // lock finds nothing of the group, and nothing to cut.
        let _ = self.intend(offset, b"");
        Err(self.log.not_appended(error))
    }

    /// What must stand before the next line so that it is a line of its own.
    pub(crate) fn separator(&self) -> &'static str {
        if self.log.ends_open { "\n" } else { "" }
    }

    /// Passes over the whole log, in parts on several threads: see [`scan::scan`].
    pub(crate) fn scan<T: Send>(
        &self,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, &[u8]) + Sync,
    ) -> Result<Vec<T>, LogError> {
        let end = self.log.folded;
        let scanned = scan::scan(&*self.log.file, end, scan::threads_for(end), start, visit);
        scanned.map_err(|e| self.log.unreadable(e))
    }

    /// Gives the log's file another name, durably but for the directories; the log starts anew.
    pub(crate) fn move_to(&mut self, path: &Path) -> Result<(), LogError> {
        let moved = self.log.disk.rename(&self.log.path, path);
        moved.and_then(|()| self.reopen_if_replaced().map(drop)).map_err(|e| self.log.unreadable(e))
    }

    /// Makes everything durable, and forgets the intents: nothing is pending, and whoever edits
    /// the log by hand, with all instances stopped, finds no intents that speak against it.
    pub(crate) fn settle(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let log = &mut *self.log;
        let settled = log.intents.settle(&*log.beside.ring, log.disk.boot());
        settled.map_err(|e| self.log.unreadable(e))
    }

    /// Folds what stands up to the log's `end`, and cuts off what is torn there.
    fn catch_up(&mut self, end: u64) -> io::Result<()> {
        if end == self.log.folded {
            return Ok(());
        }
        self.log.fold_to(end)?;
        let rest = end - self.log.folded;
        match self.log.others {
            OthersWrite::Rows if rest > 0 => {
                // Else the rows before it, which are counted from now on, would seem to be a part
                // of a group of ours that another system has written over.
                self.intend(self.log.folded, b"")?;
                self.cut(self.log.folded, "a last line without its end")
            }
            OthersWrite::Lines if rest > 0 => {
                let mut line = vec![0; usize::try_from(rest).map_err(io::Error::other)?];
                read_exactly(&*self.log.file, &mut line, self.log.folded)?;
                self.log.fold_lines(&line);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Somebody may have put the log away since, or another file in its place. Says how long the
    /// log is, in bytes.
    pub(super) fn reopen_if_replaced(&mut self) -> io::Result<u64> {
        let log = &mut *self.log;
        if let Some((id, bytes)) = log.disk.find(&log.path)?
            && id == log.file_id
        {
            return Ok(bytes);
        }
        let is_put_away = log.file.has_name()?;
        log.file = Arc::new(log.disk.open(&log.path, Mode::Append)?);
        log.disk.sync_directory(&log.volume)?;
        log.file_id = log.file.id()?;
        self.lose(is_put_away);
        self.log.file.bytes()
    }

    /// Where the log is.
    pub(super) fn path(&self) -> &Path {
        &self.log.path
    }

    pub(super) fn start_anew(&mut self) {
        self.log.fold.reset();
        self.log.folded = 0;
        self.log.appended = 0;
        self.log.durable = 0;
        self.log.fence = None;
        self.log.ends_open = false;
        self.log.damaged = 0;
    }
}
