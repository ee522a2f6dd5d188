//! The limit: one file, one thread, and nothing but appends of the same rows with their syncs.
//!
//! The rows of all agencies are one append and one sync, as they are if a server waits for
//! nobody and yet leaves nobody for the next sync.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets};
use super::load::Spoken;
use super::measures::sample;
use crate::bench::outcome::{Role, Sample};
use crate::bench::processes;
use crate::bench::stage::Stage;
use crate::bench::turns::{Contestant, Pending};

/// How many different groups there are.
const GROUPS: usize = 16;

/// Appends and syncs.
pub struct Limit {
    file: File,
    groups: Vec<Vec<u8>>,
    bets: u64,
    _place: TempDir,
}

impl Limit {
    /// Makes its file and its rows.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare(setting: Setting, bets: &Bets, stage: &Stage) -> anyhow::Result<Self> {
        let place = stage.place("limit")?;
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
        Ok(Self { file, groups, bets, _place: place })
    }

    fn append(&mut self, time: Duration) -> anyhow::Result<Spoken> {
        let mut spoken = Spoken::default();
        let before = processes::this_thread()?;
        let start = Instant::now();
        let mut last = start;
        for group in self.groups.iter().cycle() {
            self.file.write_all(group).context("append")?;
            self.file.sync_data().context("sync")?;
            spoken.bets += self.bets;
            let now = Instant::now();
            spoken.waits.push(now.duration_since(last));
            last = now;
            if start.elapsed() >= time {
                break;
            }
        }
        spoken.elapsed = start.elapsed();
        spoken.load = processes::this_thread()?.saturating_sub(before);
        Ok(spoken)
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
        Box::pin(async move {
            // Nothing else of this process has to go on meanwhile.
            let mut spoken = self.append(time)?;
            let processor = std::mem::take(&mut spoken.load);
            Ok(sample(spoken, Some(processor), None))
        })
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}
