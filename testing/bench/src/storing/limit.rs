//! The limit: one file, one thread, and nothing but appends of the same rows with their syncs.
//!
//! The rows of all agencies are one append and one sync, as they are if a server waits for no
//! agency and yet leaves no agency for the next sync.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use harness::processes;
use harness::volume::{LineCounter, Volume};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load, Loaded, Store, Usage};
use crate::place::Place;

/// How many different groups there are.
const GROUPS: usize = 16;

/// The file of the limit.
pub struct Limit {
    place: TempDir,
}

/// The one agency, which appends to it on the thread of the load.
pub struct Appends {
    file: File,
    groups: Cycle<Vec<u8>>,
    /// How many bets are in each group.
    bets: u64,
}

/// Makes the file and its rows.
///
/// # Errors
/// They cannot be made.
pub fn prepare(
    setting: Setting,
    bets: &Bets,
    place: &Place,
) -> anyhow::Result<Loaded<Limit, Appends>> {
    let store = Limit { place: place.directory("limit")? };
    let mut groups = vec![Vec::new(); GROUPS];
    for agency in 1..=setting.agencies {
        let batches = bets.batches(setting.batch, agency).cycle();
        for (group, batch) in groups.iter_mut().zip(batches) {
            group.extend(bets::rows(batch, agency)?);
        }
    }
    let agency = Appends {
        file: File::create(store.path()).context("make a file")?,
        groups: Cycle::new(groups.into_iter()),
        bets: u64::from(setting.agencies) * u64::from(setting.batch),
    };
    Ok(Loaded { store, load: Load::new(vec![agency]) })
}

impl Agency for Appends {
    async fn store(&mut self) -> anyhow::Result<u64> {
        self.file.write_all(self.groups.next()?).context("append")?;
        self.file.sync_data().context("sync")?;
        // This thread has to hear signals, too.
        tokio::task::yield_now().await;
        Ok(self.bets)
    }
}

impl Limit {
    fn path(&self) -> PathBuf {
        Volume::new(self.place.path()).bets()
    }
}

impl Store for Limit {
    /// The load's thread is the one that stores.
    fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage { processor: Some(processes::this_thread()?), memory: None })
    }

    async fn finish(self) -> anyhow::Result<Option<u64>> {
        LineCounter::new(self.path()).count().map(Some).context("count what is stored")
    }
}
