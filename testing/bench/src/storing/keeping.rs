//! Storing as a volume asks it of each of its instances, and nothing else.
//!
//! Bets are read and checked, both locks taken, all names looked at, the rows of others read and
//! folded, an intent written, rows appended, synced with it and folded, and a line logged for each
//! batch. Packets and rows are read, and files found and synced, by the functions that ours has.
//! It has no thread and no queue of its own, bounds nothing, mends nothing, compares no row's
//! place, and knows neither closes nor a draw; it tries a held lock until it has it, and its log
//! and its intents are no more than bytes of the same length.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::{AgencyId, Digest, Request, RowReader};
use server::limits::{INTENTS_MAX, INTENTS_RECENT};
use server::store::disk::{Disk as _, DiskFile as _, Mode, RealDisk, read_exactly, write_all};
use xxhash_rust::xxh3::xxh3_64;

use super::bare::Storing;
use harness::volume::Volume;

/// How long an intent is in its ring, in bytes: see PROTOCOL.md.
const RECORD_BYTES: usize = 64;

/// How much of a ring is read to learn what is new there, in bytes.
const RECENT_BYTES: usize = INTENTS_RECENT as usize * RECORD_BYTES;

/// An instance, as far as its volume is concerned.
pub struct Keeping {
    disk: RealDisk,
    closes: Log,
    rows: Log,
    /// What has to be looked for, too.
    others: [PathBuf; 2],
    /// Where lines are logged to.
    lines: File,
    /// The rows up to here are folded, in bytes.
    folded: u64,
    /// How many rows each agency has, and their digest, from agency 1 on.
    agencies: Vec<(u64, Digest)>,
    reader: RowReader,
    block: Vec<u8>,
    group: Vec<u8>,
}

/// A log, with its lock and its ring.
struct Log {
    /// Of all three of them.
    names: [PathBuf; 3],
    file: Arc<File>,
    lock: File,
    ring: Arc<File>,
    /// How many intents there are, by all. Ours learn it from the ring, which is read here as well.
    intents: Arc<AtomicU64>,
}

impl Keeping {
    /// So many of them on an empty volume, for so many agencies.
    ///
    /// # Errors
    /// The system refused a file.
    pub fn open_all(volume: &Path, instances: u8, agencies: u32) -> anyhow::Result<Vec<Self>> {
        let intents = [Arc::default(), Arc::default()];
        let open = |instance| Self::open(volume, instance, agencies, &intents);
        (1..=instances).map(open).collect()
    }

    fn open(
        volume: &Path,
        instance: u8,
        agencies: u32,
        [of_closes, of_rows]: &[Arc<AtomicU64>; 2],
    ) -> anyhow::Result<Self> {
        let (disk, files, locks) = (RealDisk::new(), Volume::new(volume), volume.join("locks"));
        disk.create_directory(&locks).context("make a directory")?;
        let lines = disk.open(&volume.join(format!("log-{instance}")), Mode::Append);
        Ok(Self {
            closes: Log::open(&disk, files.agencies_closed(), &locks.join("closes"), of_closes)?,
            rows: Log::open(&disk, files.bets(), &locks.join("rows"), of_rows)?,
            others: [locks.join("archiving"), files.draw()],
            lines: lines.context("make a log")?,
            folded: 0,
            agencies: vec![Default::default(); agencies as usize],
            reader: RowReader::default(),
            block: Vec::new(),
            group: Vec::new(),
            disk,
        })
    }

    /// Puts the rows of `packet` behind the group's; gives what is to be logged.
    fn read(&mut self, packet: &[u8]) -> anyhow::Result<String> {
        let line = packet.strip_suffix(b"\n").unwrap_or(packet);
        let Ok(Request::StoreRows { agency, bets, .. }) = Request::parse(line) else {
            bail!("a packet without rows: {}", String::from_utf8_lossy(line));
        };
        bets.write_rows(agency, &mut self.group);
        let batch = "action: apuestas_almacenadas | result: success | cantidad:";
        Ok(format!("2026-01-31 10:00:00 INFO     {batch} {}\n", bets.len()))
    }

    /// Appends the group, behind what others appended.
    fn append(&mut self) -> anyhow::Result<()> {
        self.closes.look(&self.disk)?;
        let bytes = self.rows.look(&self.disk)?;
        for path in &self.others {
            self.disk.find(path).context("look for a file")?;
        }
        self.fold_to(bytes)?;
        self.rows.append(&self.group, bytes)
    }

    /// Folds what stands before `end` and is not folded yet.
    fn fold_to(&mut self, end: u64) -> anyhow::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let bytes = end.checked_sub(self.folded).context("stored rows are gone")?;
        block.resize(usize::try_from(bytes)?, 0);
        read_exactly(&*self.rows.file, &mut block, self.folded).context("read rows")?;
        let folded = self.fold(&block);
        self.block = block;
        folded
    }

    fn fold(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (bytes, row) = self.reader.read_first(rest);
            let row = row.ok().context("a damaged row is stored")?;
            let agency = AgencyId::new(row.agency).map(AgencyId::index);
            let known = agency.and_then(|index| self.agencies.get_mut(index));
            let (rows, digest) = known.context("a row of an unknown agency is stored")?;
            (*rows, *digest) = (*rows + 1, digest.fold(row.wire));
            rest = rest.get(bytes..).unwrap_or_default();
        }
        self.folded += lines.len() as u64;
        Ok(())
    }
}

impl Storing for Keeping {
    fn store(&mut self, packets: &[&[u8]]) -> anyhow::Result<Duration> {
        self.group.clear();
        let logged = packets.iter().map(|packet| self.read(packet));
        let logged = logged.collect::<anyhow::Result<Vec<_>>>()?;
        self.closes.take_lock()?;
        self.rows.take_lock()?;
        self.append()?;
        self.rows.lock.give_lock_back().context("give a lock back")?;
        self.closes.lock.give_lock_back().context("give a lock back")?;
        let since = Instant::now();
        self.disk.begin_sync(&self.rows.file, &self.rows.ring)?;
        let group = std::mem::take(&mut self.group);
        self.fold(&group)?;
        self.group = group;
        self.disk.sync_both(&self.rows.file, &self.rows.ring)?;
        let sync_took = since.elapsed();
        for line in logged {
            self.lines.write_all(line.as_bytes()).context("log")?;
        }
        Ok(sync_took)
    }

    fn count(&mut self) -> anyhow::Result<u64> {
        self.fold_to(self.rows.file.bytes()?)?;
        Ok(self.agencies.iter().map(|(rows, _)| rows).sum())
    }
}

impl Log {
    fn open(
        disk: &RealDisk,
        path: PathBuf,
        beside: &Path,
        intents: &Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let [lock, ring] = ["lock", "intent"].map(|extension| beside.with_extension(extension));
        let open = |path: &Path, mode| {
            disk.open(path, mode).with_context(|| format!("open {}", path.display()))
        };
        let (file, lock_file, ring_file) =
            (open(&path, Mode::Append)?, open(&lock, Mode::InPlace)?, open(&ring, Mode::InPlace)?);
        write_all(&ring_file, &[0; INTENTS_MAX as usize * RECORD_BYTES], 0)
            .context("make a ring")?;
        ring_file.sync()?;
        Ok(Self {
            names: [path, lock, ring],
            file: Arc::new(file),
            lock: lock_file,
            ring: Arc::new(ring_file),
            intents: Arc::clone(intents),
        })
    }

    /// As ours does at first: whoever has it mostly gives it back sooner than a thread would sleep.
    fn take_lock(&self) -> anyhow::Result<()> {
        while !self.lock.try_take_lock().context("take a lock")? {
            thread::yield_now();
        }
        Ok(())
    }

    /// Looks whether all files have their names, and for new intents; gives the log's length in
    /// bytes.
    fn look(&self, disk: &RealDisk) -> anyhow::Result<u64> {
        let found = self.names.iter().map(|path| disk.find(path)?.context("a file is gone"));
        let found = found.collect::<anyhow::Result<Vec<_>>>()?;
        let (slot, recent) = (self.slot(), RECENT_BYTES as u64);
        let mut records = [0; RECENT_BYTES];
        let offset = slot.min(INTENTS_MAX * RECORD_BYTES as u64 - recent);
        read_exactly(&*self.ring, &mut records, offset).context("read a ring")?;
        found.first().map(|(_, bytes)| *bytes).context("there is a log")
    }

    /// Where the next intent stands in the ring, in bytes.
    fn slot(&self) -> u64 {
        self.intents.load(Ordering::Relaxed) % INTENTS_MAX * RECORD_BYTES as u64
    }

    fn append(&self, group: &[u8], offset: u64) -> anyhow::Result<()> {
        let (bytes, checksum) = (group.len() as u64, xxh3_64(group));
        let mut intent = Vec::with_capacity(RECORD_BYTES);
        for number in [offset, bytes, checksum] {
            intent.extend_from_slice(&number.to_le_bytes());
        }
        intent.resize(RECORD_BYTES, 0);
        write_all(&*self.ring, &intent, self.slot()).context("write an intent")?;
        self.intents.fetch_add(1, Ordering::Relaxed);
        write_all(&*self.file, group, offset).context("append rows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_stored_as_ours_are_and_each_folds_what_others_stored() {
        let directory = tempfile::tempdir().unwrap();
        let mut all = Keeping::open_all(directory.path(), 2, 2).unwrap();
        let packets =
            [&b"StoreRows:1;1:Ana;Paz;1;2000-01-01;7\n"[..], b"StoreRows:2;1:L;S;2;2000-01-02;8\n"];
        all[0].store(&packets).unwrap();
        all[1].store(&packets[1..]).unwrap();
        let stored = std::fs::read_to_string(Volume::new(directory.path()).bets()).unwrap();
        assert_eq!(
            stored,
            "1,Ana,Paz,1,2000-01-01,7\n2,L,S,2,2000-01-02,8\n2,L,S,2,2000-01-02,8\n"
        );
        let row = b"L;S;2;2000-01-02;8";
        let twice = (2, Digest::default().fold(row).fold(row));
        assert_eq!((all[1].agencies[0].0, all[1].agencies[1]), (1, twice));
        assert_ne!(all[0].agencies[1], twice, "it has not looked since");
        assert_eq!(all.iter_mut().map(|one| one.count().unwrap()).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(all[0].agencies, all[1].agencies);
        assert!(all[0].store(&[b"AgencyClose:1\n"]).is_err());
    }
}
