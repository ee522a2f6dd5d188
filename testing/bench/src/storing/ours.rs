//! This project's servers as contestants.

use anyhow::{Context as _, ensure};
use harness::raw_connection::RawConnection;
use harness::volume::{LineCounter, Volume};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load, Store, Usage};
use crate::instances::Instances;
use crate::place::Place;

/// An agency that sends `StoreRows`, row after row, on a connection that stays.
pub struct Rows {
    connection: RawConnection,
    agency: u32,
    batches: Cycle<String>,
    size: u64,
    stored: u64,
}

impl Agency for Rows {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let (agency, first, batch) = (self.agency, self.stored + 1, self.batches.next()?);
        let answer = self.connection.ask(&format!("StoreRows:{agency};{first}:{batch}")).await?;
        self.stored += self.size;
        let wanted = format!("StoreRowsResponse:0;{};", self.stored);
        ensure!(answer.starts_with(&wanted), "{wanted}… expected, not {answer}");
        Ok(self.size)
    }
}

/// One instance or more over one volume.
pub struct Ours {
    /// The instances.
    pub instances: Instances,
    place: TempDir,
    /// How many rows were stored before.
    before: u64,
}

impl Ours {
    /// Starts `count` instances with their defaults on the volume `directory`, which holds `before`
    /// rows.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        place: &Place,
        directory: TempDir,
        count: u8,
        setting: Setting,
        before: u64,
    ) -> anyhow::Result<Self> {
        let instances =
            Instances::start(&place.binary, count, setting.agencies, directory.path()).await?;
        Ok(Self { instances, place: directory, before })
    }

    /// Connects the agencies, which have `stored` rows each already, to the instances in turn.
    ///
    /// # Errors
    /// An instance does not listen.
    pub async fn rows(
        &self,
        setting: Setting,
        bets: &Bets,
        stored: &[u64],
    ) -> anyhow::Result<Load<Rows>> {
        let addresses = self.instances.addresses().into_iter().cycle();
        let mut stored = stored.iter().copied();
        let mut agencies = Vec::new();
        for (agency, address) in (1..=setting.agencies).zip(addresses) {
            agencies.push(Rows {
                connection: RawConnection::open(address).await?,
                agency,
                batches: Cycle::new(bets.batches(setting.batch, agency).map(bets::wire)),
                size: setting.batch.into(),
                stored: stored.next().unwrap_or(0),
            });
        }
        Ok(Load::new(agencies))
    }
}

impl Store for Ours {
    fn usage(&self) -> anyhow::Result<Usage> {
        let (processor, memory) = (self.instances.processor_time()?, self.instances.memory_mib()?);
        Ok(Usage { processor: Some(processor), memory: Some(memory) })
    }

    async fn finish(self) -> anyhow::Result<Option<u64>> {
        self.instances.stop().await?;
        let stored = LineCounter::new(Volume::new(self.place.path()).bets()).count();
        Ok(Some(stored.context("count what is stored")?.saturating_sub(self.before)))
    }
}
