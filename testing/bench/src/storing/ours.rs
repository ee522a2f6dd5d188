//! This project's servers as contestants.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets};
use super::load::{Speaker, Talk};
use super::served::Served;
use crate::instances::{Instances, counted};
use crate::outcome::{Role, Sample};
use crate::stage::Stage;
use crate::stored::Stored;
use crate::turns::{Contestant, Pending};
use harness::udp_port::UdpPort;
use harness::volume::{LineCounter, Volume};

/// One agency that sends `StoreRows`, row after row.
pub struct Rows {
    head: String,
    batches: Vec<String>,
    size: u64,
    stored: u64,
}

impl Rows {
    /// The bets of `agency`, from row 1 on.
    #[must_use]
    pub fn new(agency: u32, setting: Setting, bets: &Bets) -> Self {
        Self {
            head: format!("StoreRows:{agency};"),
            batches: bets.batches(setting.batch, agency).map(bets::wire).collect(),
            size: setting.batch.into(),
            stored: 0,
        }
    }

    /// As [`Rows::new`] for an agency that has `rows` stored already.
    #[must_use]
    pub fn behind(mut self, rows: u64) -> Self {
        self.stored = rows;
        self
    }
}

impl Talk for Rows {
    fn next(&mut self, packet: &mut Vec<u8>) {
        let place = (self.stored / self.size) as usize % self.batches.len();
        let batch = self.batches.get(place).map(String::as_str).unwrap_or_default();
        let _ = writeln!(packet, "{}{}:{batch}", self.head, self.stored + 1);
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        self.stored += self.size;
        let wanted = format!("StoreRowsResponse:0;{};", self.stored);
        let is_stored = answer.starts_with(wanted.as_bytes());
        ensure!(is_stored, "{wanted}… expected, not {}", String::from_utf8_lossy(answer));
        Ok(self.size)
    }
}

/// One instance or more over one volume.
pub struct Ours<T> {
    name: String,
    role: Role,
    served: Served<T>,
    /// How many rows were stored before.
    before: u64,
    /// Held so that the port stays these instances'.
    _udp_port: UdpPort,
}

impl<T: Talk> Ours<T> {
    /// Starts `instances` with their defaults on an empty volume. `speaker` makes each agency, from
    /// its number and the addresses of all instances; the first one is that of the agency's own
    /// instance.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        setting: Setting,
        instances: u8,
        stage: &Stage,
        speaker: impl Fn(u32, &[SocketAddr]) -> anyhow::Result<Speaker<T>>,
    ) -> anyhow::Result<Self> {
        let place = stage.place("ours")?;
        let started = Instances::start(&stage.binary, instances, setting.agencies, place.path());
        Self::of(started.await?, place, setting, speaker, counted(instances.into()))
    }

    /// As [`Ours::start`], one instance on what is `stored` already, to be called `name`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_on(
        stored: Stored,
        name: String,
        stage: &Stage,
        setting: Setting,
        speaker: impl Fn(u32, &[SocketAddr]) -> anyhow::Result<Speaker<T>>,
    ) -> anyhow::Result<Self> {
        let before = stored.rows().iter().sum();
        let role = if before == 0 { Role::Baseline } else { Role::Ours };
        let place = stored.into_place();
        let started = Instances::start(&stage.binary, 1, setting.agencies, place.path()).await?;
        Ok(Self { role, before, ..Self::of(started, place, setting, speaker, name)? })
    }

    fn of(
        instances: Instances,
        place: TempDir,
        setting: Setting,
        speaker: impl Fn(u32, &[SocketAddr]) -> anyhow::Result<Speaker<T>>,
        name: String,
    ) -> anyhow::Result<Self> {
        let own_first = |agency: u32| -> Vec<_> {
            let (own, count) = (agency as usize - 1, instances.count());
            instances.addresses().skip(own % count).take(count).collect()
        };
        let speakers = (1..=setting.agencies).map(|agency| speaker(agency, &own_first(agency)));
        let speakers = speakers.collect::<anyhow::Result<_>>()?;
        let (daemons, udp_port) = instances.into_parts();
        let served = Served::new(daemons, speakers, place);
        Ok(Self { name, role: Role::Ours, served, before: 0, _udp_port: udp_port })
    }

    /// Every packet was answered: what is stored is exactly what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        let (acknowledged, before) = (self.served.acknowledged(), self.before);
        let place = self.served.stop().await?;
        let stored = LineCounter::new(Volume::new(place.path()).bets()).count();
        let stored = stored.context("count what is stored")?;
        let added = stored.saturating_sub(before);
        ensure!(added == acknowledged, "{added} rows are stored, {acknowledged} acknowledged");
        place.close().context("remove what was stored")
    }
}

impl<T: Talk> Contestant for Ours<T> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.served.round(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
