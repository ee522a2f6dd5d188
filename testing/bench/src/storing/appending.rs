//! Storing packets as they came: one write, one sync. No bet is read, no place checked, no lock
//! taken, and nothing could be mended.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::bare::Storing;
use harness::volume::Volume;

/// A file that packets are appended to.
pub struct Appending {
    file: File,
    group: Vec<u8>,
    packets: u64,
    /// How many bets are in each of them.
    bets_each: u64,
    bytes: u64,
}

impl Appending {
    /// An empty file in the directory `place`, for packets of so many bets.
    ///
    /// # Errors
    /// The system refused it.
    pub fn open(place: &Path, bets_each: u32) -> anyhow::Result<Self> {
        let path = Volume::new(place).bets();
        let file =
            OpenOptions::new().create(true).append(true).open(path).context("make a file")?;
        Ok(Self { file, group: Vec::new(), packets: 0, bets_each: bets_each.into(), bytes: 0 })
    }
}

impl Storing for Appending {
    fn store(&mut self, packets: &[&[u8]]) -> anyhow::Result<Duration> {
        self.group.clear();
        packets.iter().for_each(|packet| self.group.extend_from_slice(packet));
        self.file.write_all(&self.group).context("append")?;
        let since = Instant::now();
        self.file.sync_data().context("sync")?;
        self.packets += packets.len() as u64;
        self.bytes += self.group.len() as u64;
        Ok(since.elapsed())
    }

    fn count(&mut self) -> anyhow::Result<u64> {
        let (stored, bytes) = (self.file.metadata()?.len(), self.bytes);
        ensure!(stored == bytes, "{stored} bytes are stored, {bytes} were appended");
        Ok(self.packets * self.bets_each)
    }
}
