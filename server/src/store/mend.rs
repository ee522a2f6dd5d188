//! Mending a log under its lock: what writers left that died, with or without the machine.
//!
//! Decides only what is cut off; `intent.rs` says why that is right. Nothing that was
//! acknowledged is ever cut.

use std::io;

use tracing::warn;

use super::disk::{Disk, DiskFile, read_exactly};
use super::intent::Intent;
use super::lines::for_each_block;
use super::log::{Fold, Locked};

/// How another system writes the log, which knows no intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OthersWrite {
    /// Rows that end in `\r\n`, as none of ours does. A last line without its end is torn.
    Rows,
    /// Lines as ours are, each ended by `\n`; a line more than there should be does no harm. A last
    /// line without its end, as an editor may leave it, is whole.
    Lines,
}

impl OthersWrite {
    /// Whether `line`, with its end, may be another system's.
    pub(super) fn may_be(self, line: &[u8]) -> bool {
        line.ends_with(match self {
            Self::Rows => b"\r\n",
            Self::Lines => b"\n",
        })
    }
}

impl<D: Disk, F: Fold> Locked<'_, D, F> {
    /// Brings the log into a state of whole groups; says how long it is then, in bytes.
    pub(super) fn mend(&mut self) -> io::Result<u64> {
        let mut bytes = self.reopen_if_replaced()?;
        // Known before anything is cut off, so that what is told is the right reason.
        if bytes < self.log.folded {
            self.lose(false);
        }
        let log = &mut *self.log;
        log.intents.refresh(&*log.beside.ring, log.file_id)?;
        if let Some(newest) = log.intents.newest().copied() {
            if !log.intents.is_of(log.disk.boot()) {
                self.mend_after_restart(bytes)?;
                bytes = self.log.file.bytes()?;
            } else if newest.offset < bytes && bytes < newest.end() {
                self.cut_behind_others(newest.offset, "a group whose writer died")?;
                bytes = self.log.file.bytes()?;
            }
        }
        if bytes < self.log.folded {
            self.lose(false);
        }
        Ok(bytes)
    }

    /// The machine has started anew, perhaps after a crash: groups that were not durable may be
    /// there in any part. See [`super::intent`].
    fn mend_after_restart(&mut self, bytes: u64) -> io::Result<()> {
        let unfinished = self.first_unfinished(bytes)?;
        self.cut_behind_others(unfinished, "what a crash of the machine left unfinished")?;
        self.log.file.sync()?;
        self.raise_fence()
    }

    /// Where the first group starts that is not there as it was meant to be, or the last one ends.
    fn first_unfinished(&self, bytes: u64) -> io::Result<u64> {
        let mut end = 0;
        for intent in self.log.intents.standing() {
            if !self.is_there(&intent, bytes)? {
                return Ok(intent.offset.min(bytes));
            }
            end = intent.end();
        }
        Ok(end)
    }

    /// Cuts what stands at `offset` and behind, up to the last line that may be another system's.
    fn cut_behind_others(&mut self, offset: u64, what: &'static str) -> io::Result<()> {
        let (others, bytes) = (self.log.others, self.log.file.bytes()?);
        let (mut kept, mut read) = (offset, offset);
        for_each_block(&*self.log.file, offset..bytes, &mut Vec::new(), |lines| {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                read += line.len() as u64;
                if others.may_be(line) {
                    kept = read;
                }
            }
        })?;
        if kept < bytes { self.cut(kept, what) } else { Ok(()) }
    }

    fn is_there(&self, intent: &Intent, bytes: u64) -> io::Result<bool> {
        if intent.end() > bytes {
            return Ok(false);
        }
        let mut group = vec![0; usize::try_from(intent.bytes).map_err(io::Error::other)?];
        read_exactly(&*self.log.file, &mut group, intent.offset)?;
        Ok(intent.matches(&group))
    }

    /// Before a group is written, the ring must durably hold an intent that came before it. That
    /// another instance wrote one proves nothing: it may have ended when its sync failed.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        let is_armed = self.log.fence.is_some_and(|sequence| self.log.intents.holds(sequence));
        if is_armed { Ok(()) } else { self.raise_fence() }
    }

    fn raise_fence(&mut self) -> io::Result<()> {
        self.intend(self.log.file.bytes()?, b"")?;
        self.log.beside.ring.sync()?;
        self.log.fence = Some(self.log.intents.sequence());
        Ok(())
    }

    /// Writes the intent to append `group` at `offset`.
    pub(super) fn intend(&mut self, offset: u64, group: &[u8]) -> io::Result<()> {
        let log = &mut *self.log;
        log.intents.write(&*log.beside.ring, log.disk.boot(), offset, group)
    }

    pub(super) fn cut(&mut self, offset: u64, what: &'static str) -> io::Result<()> {
        let bytes = self.log.file.bytes()?.saturating_sub(offset);
        let why = if self.was_changed_by_hand() {
            "the file was removed, cut or replaced by hand"
        } else {
            "nothing of it was acknowledged"
        };
        warn!(
            action = "mend_log",
            result = "success",
            file = %self.log.path.display(),
            offset,
            bytes,
            reason = format!("cut off {what}; {why}"),
        );
        self.log.file.truncate(offset)
    }
}
