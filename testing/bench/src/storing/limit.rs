//! The limit: one file, one thread, and nothing but appends of the same rows with their syncs.
//!
//! The rows of all agencies are one append and one sync, as they are if a server waits for
//! nobody and yet leaves nobody for the next sync.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets};
use super::load::Round;
use crate::outcome::{Role, Sample};
use crate::place::Place;
use crate::turns::{Contestant, Pending};
use harness::processes;

/// How many different groups there are.
const GROUPS: usize = 16;

/// Appends and syncs.
pub struct Limit {
    appends: Arc<Appends>,
    /// How many bytes all rounds appended.
    bytes: u64,
    place: TempDir,
}

/// What is appended, and to what.
struct Appends {
    file: File,
    groups: Vec<Vec<u8>>,
    /// How many bets are in each group.
    bets: u64,
}

impl Limit {
    /// Makes its file and its rows.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare(setting: Setting, bets: &Bets, place: &Place) -> anyhow::Result<Self> {
        let place = place.directory("limit")?;
        let path = place.path().join("bets.csv");
        let file =
            OpenOptions::new().create(true).append(true).open(path).context("make a file")?;
        let agencies: Vec<Vec<_>> = (1..=setting.agencies)
            .map(|agency| bets.batches(setting.batch, agency).cycle().take(GROUPS).collect())
            .collect();
        let groups = (0..GROUPS).map(|group| {
            let mut rows = Vec::new();
            for (agency, batches) in (1..).zip(&agencies) {
                let batch = batches.get(group).copied().unwrap_or_default();
                rows.extend(bets::rows(batch, agency)?);
            }
            Ok(rows)
        });
        let groups = groups.collect::<anyhow::Result<_>>()?;
        let bets = u64::from(setting.agencies) * u64::from(setting.batch);
        Ok(Self { appends: Arc::new(Appends { file, groups, bets }), bytes: 0, place })
    }

    /// On another thread, which does nothing else: this one has to hear signals.
    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let appends = Arc::clone(&self.appends);
        let appending = tokio::task::spawn_blocking(move || appends.append(time));
        let (mut round, bytes) = appending.await.context("follow the limit")??;
        self.bytes += bytes;
        let processor = std::mem::take(&mut round.load);
        Ok(round.sample(Some(processor), None))
    }

    /// The file has every byte that was appended, and no other.
    fn check(self) -> anyhow::Result<()> {
        let stored = self.appends.file.metadata().context("look at what is stored")?.len();
        ensure!(stored == self.bytes, "{stored} bytes are stored, {} were appended", self.bytes);
        self.place.close().context("remove what was stored")
    }
}

impl Appends {
    /// Appends for `time`; tells what it came to, and how many bytes it was.
    fn append(&self, time: Duration) -> anyhow::Result<(Round, u64)> {
        let (mut round, mut bytes) = (Round::new(), 0);
        let before = processes::this_thread()?;
        let start = Instant::now();
        let mut last = start;
        for group in self.groups.iter().cycle() {
            (&self.file).write_all(group).context("append")?;
            self.file.sync_data().context("sync")?;
            bytes += group.len() as u64;
            let now = Instant::now();
            round.add(self.bets, now.duration_since(last));
            last = now;
            if start.elapsed() >= time {
                break;
            }
        }
        round.elapsed = start.elapsed();
        round.load = processes::this_thread()?.saturating_sub(before);
        Ok((round, bytes))
    }
}

impl Contestant for Limit {
    fn name(&self) -> String {
        "limit".to_owned()
    }

    fn role(&self) -> Role {
        Role::Limit
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.measure(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async { self.check() })
    }
}
