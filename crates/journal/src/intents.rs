//! Intents: what makes a group of rows whole or nothing, also when its writer dies.
//!
//! Beside each log stands a small file, a ring of records. Before a group is appended, its
//! intent (where it will stand, how long it is, its checksum) is written to the ring. The process
//! that takes the lock next compares the newest intent with the log:
//!
//! - The log ends inside the intent's range: its writer died. The log is cut to where the range
//!   starts.
//! - The machine has started again since: any group that was not acknowledged may be there in
//!   part, in any part, and so may the ring. The log is cut at the first group that does not match
//!   its checksum, or whose intent is missing in the ring; if there is none, at the newest intent's
//!   end, because what stands behind it may be a group whose intent was lost.
//! - The ring is empty or missing, is about another file, or its newest record says that all is
//!   settled: nothing is pending.
//!
//! Lines that may be another system's, which knows no intents, are never cut: a cut goes behind
//! the last of them.
//!
//! **Invariant**: a group is acknowledged only when its bytes and its intent are durable. It is
//! written only behind a *fence*: an intent of this file that its writer has synced since the
//! machine started and that is still in the ring. If there is none, the writer first writes and
//! syncs an intent of no bytes.

use std::collections::VecDeque;
use std::io;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{INTENT_NUMBER_MAX, INTENTS_MAX, INTENTS_RECENT};

use crate::disk::{BootId, DiskFile, FileId, read_exactly, write_all};

const RECORD_BYTES: usize = 64;
const RING_BYTES: usize = INTENTS_MAX as usize * RECORD_BYTES;

/// Where a group stands in its log, or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    sequence: u64,
    file: FileId,
    boot: BootId,
    /// Where the group starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    checksum: u64,
}

/// What a record of a ring names instead of a log's file: all that was intended before it is
/// durable, and forgotten. It is one small write, so that a crash leaves the ring as it was or
/// settled; and the numbers go on, so that no later record is taken for an earlier one.
const SETTLED: FileId = FileId(0);

impl Intent {
    /// Where the group ends, in bytes.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }

    /// Whether `group` is what was meant to be written.
    pub fn matches(&self, group: &[u8]) -> bool {
        group.len() as u64 == self.bytes && xxh3_64(group) == self.checksum
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let Self { sequence, file, boot, offset, bytes, checksum } = *self;
        let (low, high) = (boot.0 as u64, (boot.0 >> 64) as u64);
        let mut record = [0; RECORD_BYTES];
        let numbers = [sequence, file.0, low, high, offset, bytes, checksum];
        for (place, number) in record.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let (body, check) = record.split_at_mut(RECORD_BYTES - 8);
        check.copy_from_slice(&xxh3_64(body).to_le_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let (body, check) = record.split_last_chunk::<8>()?;
        let is_empty = *check == [0; 8];
        if is_empty || u64::from_le_bytes(*check) != xxh3_64(body) {
            return None;
        }
        let mut numbers = body.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
        let sequence = numbers.next().filter(|sequence| *sequence <= INTENT_NUMBER_MAX)?;
        let file = FileId(numbers.next()?);
        let boot = BootId(u128::from(numbers.next()?) | u128::from(numbers.next()?) << 64);
        let (offset, bytes, checksum) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Self { sequence, file, boot, offset, bytes, checksum })
    }
}

/// What is known of a ring.
pub struct Intents {
    file: FileId,
    /// The intents of this file, the oldest first.
    of_file: VecDeque<Intent>,
    /// The newest intent, of whatever file.
    newest: Option<Intent>,
    /// The sequence number of the intent before the first one that is missing, of the run of the
    /// machine that wrote the newest one.
    before_gap: Option<u64>,
}

impl Intents {
    /// A ring that was not read yet.
    pub fn none() -> Self {
        Self { file: FileId(0), of_file: VecDeque::new(), newest: None, before_gap: None }
    }

    /// Learns what stands in the ring now, for the log `file`. A process that holds the lock again most
    /// often finds the newest record that it knows, and a few new ones behind it.
    pub fn refresh(&mut self, ring: &impl DiskFile, file: FileId) -> io::Result<()> {
        if self.file != file || !self.take_recent(ring)? {
            allocate(ring)?;
            *self = Self::read(ring, file)?;
        }
        Ok(())
    }

    /// Takes what was added since; says whether that is certain to be all that has changed. In a
    /// ring without intents, the place before the first one stands for the newest.
    fn take_recent(&mut self, ring: &impl DiskFile) -> io::Result<bool> {
        let slot = self.sequence() % INTENTS_MAX;
        let records = INTENTS_RECENT.min(INTENTS_MAX - slot) as usize;
        let mut bytes = [0; INTENTS_RECENT as usize * RECORD_BYTES];
        let bytes = bytes.get_mut(..records * RECORD_BYTES).unwrap_or_default();
        match read_exactly(ring, bytes, slot * RECORD_BYTES as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let mut recent = bytes.chunks_exact(RECORD_BYTES).map(Intent::decode);
        if recent.next().flatten() != self.newest {
            return Ok(false);
        }
        for intent in recent {
            match intent {
                Some(intent) if intent.sequence == self.sequence() + 1 => self.add(intent),
                _ => return Ok(true),
            }
        }
        // The last record that was read is new: there may be more.
        Ok(false)
    }

    fn add(&mut self, intent: Intent) {
        match self.newest {
            Some(newest) if newest.boot != intent.boot => self.before_gap = None,
            Some(newest) if newest.sequence + 1 < intent.sequence => {
                self.before_gap.get_or_insert(newest.sequence);
            }
            _ => {}
        }
        let oldest = (intent.sequence + 1).saturating_sub(INTENTS_MAX);
        while self.of_file.front().is_some_and(|first| first.sequence < oldest) {
            self.of_file.pop_front();
        }
        if intent.file == SETTLED {
            self.of_file.clear();
        } else if intent.file == self.file {
            self.of_file.push_back(intent);
        }
        self.newest = Some(intent);
    }

    /// Reads the ring; what is torn or empty in it is passed over.
    fn read(ring: &impl DiskFile, file: FileId) -> io::Result<Self> {
        let mut bytes = vec![0; RING_BYTES];
        read_exactly(ring, &mut bytes, 0)?;
        let mut intents: Vec<_> =
            bytes.chunks_exact(RECORD_BYTES).filter_map(Intent::decode).collect();
        intents.sort_unstable_by_key(|intent| intent.sequence);
        let mut read = Self { file, ..Self::none() };
        intents.into_iter().for_each(|intent| read.add(intent));
        Ok(read)
    }

    /// The newest intent of the file.
    pub fn newest(&self) -> Option<&Intent> {
        self.of_file.back()
    }

    /// Whether the file's newest intent was made in this run of the machine.
    pub fn is_of(&self, boot: BootId) -> bool {
        self.newest().is_some_and(|intent| intent.boot == boot)
    }

    /// The sequence number of the newest intent, of whatever file.
    pub fn sequence(&self) -> u64 {
        self.newest.map_or(0, |newest| newest.sequence)
    }

    /// Whether the file's intent with this sequence number is still in the ring.
    pub fn holds(&self, sequence: u64) -> bool {
        self.of_file.iter().any(|intent| intent.sequence == sequence)
    }

    /// Whether the ring is missing an intent that was written before this one. Then neither was
    /// durable, because the sync of an intent is one of all that were written before it.
    pub fn is_behind_gap(&self, intent: &Intent) -> bool {
        self.before_gap.is_some_and(|before| before < intent.sequence)
    }

    /// The groups that should be there, the first one first. An intent that overlaps a later one
    /// was cut back, and its place was used again.
    pub fn standing(&self) -> Vec<Intent> {
        let mut next = u64::MAX;
        let mut standing = Vec::new();
        for intent in self.of_file.iter().rev() {
            if intent.end() <= next {
                standing.push(*intent);
            }
            next = next.min(intent.offset);
        }
        standing.reverse();
        standing
    }

    /// Writes the intent to append `group` at `offset`; it is not durable yet.
    pub fn write(
        &mut self,
        ring: &impl DiskFile,
        boot: BootId,
        offset: u64,
        group: &[u8],
    ) -> io::Result<()> {
        let (file, bytes, checksum) = (self.file, group.len() as u64, xxh3_64(group));
        self.put(
            ring,
            Intent { sequence: self.sequence() + 1, file, boot, offset, bytes, checksum },
        )
    }

    /// Says, durably, that all intents in the ring are of groups that are durable.
    pub fn settle(&mut self, ring: &impl DiskFile, boot: BootId) -> io::Result<()> {
        if self.newest.is_none_or(|newest| newest.file == SETTLED) {
            return Ok(());
        }
        let sequence = self.sequence() + 1;
        let (offset, bytes, checksum) = (0, 0, 0);
        self.put(ring, Intent { sequence, file: SETTLED, boot, offset, bytes, checksum })?;
        Ok(ring.sync()?)
    }

    fn put(&mut self, ring: &impl DiskFile, intent: Intent) -> io::Result<()> {
        write_all(ring, &intent.encode(), intent.sequence % INTENTS_MAX * RECORD_BYTES as u64)?;
        self.add(intent);
        Ok(())
    }
}

/// Makes the ring's file as long as it will ever be, so that no later write of an intent needs
/// space on a file system that overwrites in place. A full-length ring is left as it is.
fn allocate(ring: &impl DiskFile) -> io::Result<()> {
    if ring.bytes()? >= RING_BYTES as u64 {
        return Ok(());
    }
    write_all(ring, &[0; RING_BYTES], 0)?;
    Ok(ring.sync()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Mode, RealDisk};

    const US: (FileId, BootId) = (FileId(7), BootId(u128::MAX - 5));

    fn ring() -> (tempfile::TempDir, std::fs::File) {
        let directory = tempfile::tempdir().unwrap();
        let ring = RealDisk::new().open(&directory.path().join("ring"), Mode::InPlace).unwrap();
        allocate(&ring).unwrap();
        (directory, ring)
    }

    fn write(ring: &std::fs::File, offset: u64, group: &[u8]) {
        Intents::read(ring, US.0).unwrap().write(ring, US.1, offset, group).unwrap();
    }

    fn settle(ring: &std::fs::File) {
        Intents::read(ring, US.0).unwrap().settle(ring, US.1).unwrap();
    }

    fn all(intents: &Intents) -> (Option<Intent>, Vec<Intent>) {
        (intents.newest, intents.of_file.iter().copied().collect())
    }

    fn ranges(intents: &[Intent]) -> Vec<(u64, u64)> {
        intents.iter().map(|intent| (intent.offset, intent.end())).collect()
    }

    #[test]
    fn the_newest_is_found_again_however_often_the_ring_turned() {
        let (_directory, ring) = ring();
        for round in 0..INTENTS_MAX * 2 + 3 {
            write(&ring, round * 4, b"1,a\n");
            let intents = Intents::read(&ring, US.0).unwrap();
            let newest = intents.newest().unwrap();
            assert_eq!((newest.offset, newest.end()), (round * 4, round * 4 + 4));
            assert!(newest.matches(b"1,a\n") && !newest.matches(b"1,b\n"));
            assert!(intents.is_of(US.1) && !intents.is_of(BootId(1)));
        }
    }

    #[test]
    fn an_empty_ring_and_one_of_another_file_say_nothing() {
        let (_directory, ring) = ring();
        assert_eq!(Intents::read(&ring, US.0).unwrap().newest(), None);
        write(&ring, 0, b"x");
        assert_eq!(Intents::read(&ring, FileId(8)).unwrap().newest(), None);
        settle(&ring);
        let settled = Intents::read(&ring, US.0).unwrap();
        assert_eq!((settled.newest(), settled.sequence(), settled.holds(1)), (None, 2, false));
        settle(&ring);
        write(&ring, 0, b"x");
        assert_eq!(Intents::read(&ring, US.0).unwrap().newest().unwrap().sequence, 3);
    }

    /// However many intents were added, by which instance, and for which log.
    #[test]
    fn a_process_that_knew_the_ring_learns_what_a_first_reader_learns() {
        let (_directory, ring) = ring();
        let mut known = Intents::none();
        for (round, added) in [0, 1, 2, 6, 7, 8, 9, 250, 0, 300, 1, 3].into_iter().enumerate() {
            let (ours, theirs) = (round % 3 != 2, FileId(8));
            (0..added).for_each(|offset| {
                let file = if ours || offset % 2 == 0 { US.0 } else { theirs };
                Intents::read(&ring, file).unwrap().write(&ring, US.1, offset, b"x").unwrap();
            });
            if added == 3 {
                settle(&ring);
                write(&ring, 9, b"after");
            }
            known.refresh(&ring, US.0).unwrap();
            assert_eq!(all(&known), all(&Intents::read(&ring, US.0).unwrap()), "{added}");
            if round == 1 {
                settle(&ring);
                known.refresh(&ring, US.0).unwrap();
                assert_eq!((known.newest(), known.sequence()), (None, 3));
            }
            known.write(&ring, US.1, 1, b"y").unwrap();
            assert_eq!(all(&known), all(&Intents::read(&ring, US.0).unwrap()), "{added}");
        }
        known.refresh(&ring, FileId(8)).unwrap();
        assert_eq!(known.newest(), None, "the ring is about another file");
    }

    #[test]
    fn a_group_that_was_cut_back_does_not_stand() {
        let (_directory, ring) = ring();
        for (offset, group) in
            [(0, &b"aaaa"[..]), (4, b"bbbbbbbb"), (4, b"cc"), (6, b""), (6, b"dddd")]
        {
            write(&ring, offset, group);
        }
        let intents = Intents::read(&ring, US.0).unwrap();
        assert_eq!(ranges(&intents.standing()), [(0, 4), (4, 6), (6, 6), (6, 10)]);
    }
}
