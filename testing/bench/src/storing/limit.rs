//! The limit: one file, one thread, and nothing but appends of the same rows with their syncs.
//!
//! The rows of all agencies are one append and one sync, as they are if a server waits for no
//! agency and yet leaves no agency for the next sync.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load};
use crate::outcome::Sample;
use crate::place::Place;
use crate::turns::{Contestant, Pending};

/// How many different groups there are.
const GROUPS: usize = 16;

/// One agency that does all of it, on this thread.
pub struct Limit {
    load: Load<Appends>,
    place: TempDir,
}

/// What is appended, and to what.
struct Appends {
    file: File,
    groups: Cycle<Vec<u8>>,
    /// How many bets are in each group.
    bets: u64,
    /// How many bytes were appended.
    bytes: u64,
}

impl Agency for Appends {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let group = self.groups.next()?;
        self.file.write_all(group).context("append")?;
        self.file.sync_data().context("sync")?;
        self.bytes += group.len() as u64;
        // This thread has to hear signals, too.
        tokio::task::yield_now().await;
        Ok(self.bets)
    }
}

impl Limit {
    /// Makes its file and its rows.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn prepare(setting: Setting, bets: &Bets, place: &Place) -> anyhow::Result<Self> {
        let place = place.directory("limit")?;
        let file = File::create(place.path().join("bets.csv")).context("make a file")?;
        let mut groups = vec![Vec::new(); GROUPS];
        for agency in 1..=setting.agencies {
            let batches = bets.batches(setting.batch, agency).cycle();
            for (group, batch) in groups.iter_mut().zip(batches) {
                group.extend(bets::rows(batch, agency)?);
            }
        }
        let groups = Cycle::new(groups.into_iter());
        let bets = u64::from(setting.agencies) * u64::from(setting.batch);
        Ok(Self { load: Load::new(vec![Appends { file, groups, bets, bytes: 0 }]), place })
    }
}

impl Contestant for Limit {
    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(async move {
            let mut round = self.load.round(time).await?;
            let processor = std::mem::take(&mut round.load);
            Ok(round.sample(Some(processor), None))
        })
    }

    /// The file has every byte that was appended, and no other.
    fn finish<'c>(self: Box<Self>) -> Pending<'c, ()>
    where
        Self: 'c,
    {
        Box::pin(async move {
            let stored = self.place.path().join("bets.csv").metadata();
            let stored = stored.context("measure what is stored")?.len();
            let appended: u64 = self.load.agencies().iter().map(|appends| appends.bytes).sum();
            ensure!(stored == appended, "{stored} bytes are stored, {appended} were appended");
            Ok(())
        })
    }
}
