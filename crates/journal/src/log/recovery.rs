//! Recovery of a log under its lock: what writers left that died, with or without the machine.
//!
//! Decides only what is cut off; [`crate::intents`] says why that is right. Nothing that was
//! acknowledged is ever cut.

use std::io;

use super::{Cut, Locked};
use crate::disk::{Disk, DiskFile, read_exactly};
use crate::intents::Intent;
use crate::lines::for_each_block;

impl<D: Disk> Locked<'_, D> {
    /// Brings the log into a state of whole groups; says how long it is then, in bytes.
    pub(super) fn recover(&mut self) -> io::Result<u64> {
        let mut bytes = self.reopen_if_replaced()?;
        // Known before anything is cut off, so that the right reason is reported.
        if bytes < self.log.positions.applied {
            self.note_external_change(false);
        }
        let log = &mut *self.log;
        log.intents.refresh(&*log.lock_files.ring, log.file_id)?;
        if let Some(newest) = log.intents.newest().copied() {
            if !log.intents.is_of(log.disk.boot()) {
                self.recover_after_restart(bytes)?;
                bytes = self.log.file.bytes()?;
            } else if newest.offset < bytes && bytes < newest.end() {
                self.cut_behind_others(newest.offset, "a group whose writer died")?;
                bytes = self.log.file.bytes()?;
            }
        }
        if bytes < self.log.positions.applied {
            self.note_external_change(false);
        }
        Ok(bytes)
    }

    /// The machine has started again, perhaps after a crash: groups that were not durable may be
    /// there in any part. See [`crate::intents`].
    fn recover_after_restart(&mut self, bytes: u64) -> io::Result<()> {
        let unfinished = self.first_unfinished(bytes)?;
        self.cut_behind_others(unfinished, "what a crash of the machine left unfinished")?;
        self.log.file.sync()?;
        self.write_fence()
    }

    /// Where the first group starts that is not there as it was meant to be, or the last one ends.
    /// A group whose intent is missing starts where the one before it ends.
    fn first_unfinished(&self, bytes: u64) -> io::Result<u64> {
        let mut end = None;
        for intent in self.log.intents.standing() {
            if let Some(end) = end
                && self.log.intents.is_behind_gap(&intent)
            {
                return Ok(end);
            }
            if !self.is_there(&intent, bytes)? {
                return Ok(intent.offset.min(bytes));
            }
            end = Some(intent.end());
        }
        Ok(end.unwrap_or_default())
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
    pub(super) fn ensure_fence(&mut self) -> io::Result<()> {
        let has_fence =
            self.log.positions.fence().is_some_and(|sequence| self.log.intents.holds(sequence));
        if has_fence { Ok(()) } else { self.write_fence() }
    }

    fn write_fence(&mut self) -> io::Result<()> {
        let at = self.log.file.bytes()?;
        self.intend(at, b"")?;
        self.log.lock_files.ring.sync()?;
        self.log.positions.set_fence(self.log.intents.sequence(), at);
        Ok(())
    }

    /// Writes the intent to append `group` at `offset`.
    pub(super) fn intend(&mut self, offset: u64, group: &[u8]) -> io::Result<()> {
        let log = &mut *self.log;
        log.intents.write(&*log.lock_files.ring, log.disk.boot(), offset, group)
    }

    pub(super) fn cut(&mut self, offset: u64, what: &'static str) -> io::Result<()> {
        let bytes = self.log.file.bytes()?.saturating_sub(offset);
        let is_changed = self.log.change.is_some_and(|it| it.bytes > 0 && !it.is_renamed);
        self.log.found.cuts.push(Cut { offset, bytes, what, is_changed });
        self.log.file.truncate(offset)
    }
}
