//! This project's servers as contestants.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::raw_connection::RawConnection;
use harness::volume::{LineCounter, Volume};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load};
use crate::instances::{Instances, counted};
use crate::outcome::{Role, Sample};
use crate::place::Place;
use crate::stored::Stored;
use crate::turns::{Contestant, Pending};

/// An agency that sends `StoreRows`, row after row, on a connection that stays.
pub struct Rows {
    connection: RawConnection,
    agency: u32,
    batches: Cycle<String>,
    size: u64,
    stored: u64,
}

impl Rows {
    /// Connects `agency`, which has `stored` rows already.
    ///
    /// # Errors
    /// No server listens at `address`.
    pub async fn connect(
        address: SocketAddr,
        agency: u32,
        setting: Setting,
        bets: &Bets,
        stored: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            connection: RawConnection::open(address).await?,
            agency,
            batches: Cycle::new(bets.batches(setting.batch, agency).map(bets::wire)),
            size: setting.batch.into(),
            stored,
        })
    }
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
pub struct Ours<A> {
    name: String,
    role: Role,
    load: Load<A>,
    instances: Instances,
    place: TempDir,
    /// How many rows were stored before.
    before: u64,
}

impl<A: Agency> Ours<A> {
    /// Starts `instances` with their defaults on an empty volume. `connect` makes each agency, from
    /// its number and the addresses of all instances; the first one is that of the agency's own
    /// instance.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start<C: Future<Output = anyhow::Result<A>>>(
        setting: Setting,
        instances: u8,
        place: &Place,
        connect: impl Fn(u32, Vec<SocketAddr>) -> C + Send + 'static,
    ) -> anyhow::Result<Self> {
        let name = counted(instances.into());
        let directory = place.directory("ours")?;
        Self::start_in(directory, name, setting, instances, place, connect).await
    }

    /// As [`Ours::start`], one instance on what is `stored` already, to be called `name`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_on<C: Future<Output = anyhow::Result<A>>>(
        stored: Stored,
        name: String,
        place: &Place,
        setting: Setting,
        connect: impl Fn(u32, Vec<SocketAddr>) -> C + Send + 'static,
    ) -> anyhow::Result<Self> {
        let before = stored.rows().iter().sum();
        let role = if before == 0 { Role::Baseline } else { Role::Ours };
        let directory = stored.into_directory();
        let ours = Self::start_in(directory, name, setting, 1, place, connect).await?;
        Ok(Self { role, before, ..ours })
    }

    async fn start_in<C: Future<Output = anyhow::Result<A>>>(
        directory: TempDir,
        name: String,
        setting: Setting,
        count: u8,
        place: &Place,
        connect: impl Fn(u32, Vec<SocketAddr>) -> C + Send + 'static,
    ) -> anyhow::Result<Self> {
        let instances =
            Instances::start(&place.binary, count, setting.agencies, directory.path()).await?;
        let addresses: Vec<_> = instances.addresses().take(count.into()).collect();
        let load = Load::connect(setting.agencies, move |agency| {
            let mut addresses = addresses.clone();
            let own = (agency as usize - 1) % addresses.len();
            addresses.rotate_left(own);
            connect(agency, addresses)
        });
        let load = load.await?;
        Ok(Self { name, role: Role::Ours, load, instances, place: directory, before: 0 })
    }

    /// Every packet was answered: what is stored is exactly what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        let (acknowledged, before) = (self.load.acknowledged(), self.before);
        drop(self.load);
        self.instances.stop().await?;
        let stored = LineCounter::new(Volume::new(self.place.path()).bets()).count();
        let added = stored.context("count what is stored")?.saturating_sub(before);
        ensure!(added == acknowledged, "{added} rows are stored, {acknowledged} acknowledged");
        self.place.close().context("remove what was stored")
    }
}

impl<A: Agency> Contestant for Ours<A> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(async move {
            let instances = &self.instances;
            let processor_time = || instances.processor_time();
            let (round, processor) = self.load.round(time, processor_time).await?;
            Ok(round.sample(Some(processor), Some(instances.memory_mib()?)))
        })
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
