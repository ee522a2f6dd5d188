//! This project's servers as contestants.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets};
use super::load::{self, Speaker, Talk};
use super::measures::sample;
use crate::bench::answer::{Role, Sample};
use crate::bench::processes;
use crate::bench::stage::Stage;
use crate::bench::turns::{Contestant, Pending};
use crate::cluster::{Cluster, Plan};
use crate::volume::{LineCounter, Volume};

/// One agency that sends `StoreRows`, row after row.
struct Rows {
    head: String,
    batches: Vec<String>,
    size: u64,
    sent: u64,
}

impl Rows {
    fn new(agency: u32, setting: Setting, bets: &Bets) -> Self {
        Self {
            head: format!("StoreRows:{agency};"),
            batches: bets.batches(setting.batch, agency).map(bets::wire).collect(),
            size: setting.batch.into(),
            sent: 0,
        }
    }
}

impl Talk for Rows {
    fn next(&mut self, packet: &mut Vec<u8>) {
        let place = (self.sent / self.size) as usize % self.batches.len();
        let batch = self.batches.get(place).map(String::as_str).unwrap_or_default();
        let _ = writeln!(packet, "{}{}:{batch}", self.head, self.sent + 1);
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        self.sent += self.size;
        let mut fields = answer.split(|byte| b":;\n".contains(byte)).skip(1);
        let is_stored =
            fields.next() == Some(b"0") && fields.next() == Some(self.sent.to_string().as_bytes());
        ensure!(is_stored, "row {}: {}", self.sent, String::from_utf8_lossy(answer));
        Ok(self.size)
    }
}

/// One instance or more over one volume.
pub struct Ours {
    cluster: Cluster,
    speakers: Vec<Speaker<Rows>>,
    acknowledged: u64,
    place: TempDir,
}

impl Ours {
    /// Starts `instances` with their defaults, and connects the agencies to one after the other.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        setting: Setting,
        instances: u8,
        bets: &Bets,
        stage: &Stage,
    ) -> anyhow::Result<Self> {
        let place = stage.place("ours")?;
        let plan = Plan {
            binary: stage.binary.clone(),
            servers: instances,
            agencies: setting.agencies,
            winner_number: 7574,
            network: [127, 0, 0],
            directory: place.path().to_owned(),
            volume: Volume::new(place.path()),
            server_settings: Vec::new(),
        };
        let cluster = Cluster::start(plan).await?;
        let servers = cluster.servers().iter().cycle();
        let agencies = (1..=setting.agencies).zip(servers).map(|(agency, server)| {
            Speaker::connect(server.address(), Rows::new(agency, setting, bets))
        });
        let speakers = agencies.collect::<anyhow::Result<_>>()?;
        Ok(Self { cluster, speakers, acknowledged: 0, place })
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        self.cluster.servers().iter().filter_map(|server| server.process().id())
    }

    fn processor_time(&self) -> anyhow::Result<Duration> {
        self.ids().map(processes::processor_time).sum()
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let before = self.processor_time()?;
        let (speakers, spoken) = load::run(std::mem::take(&mut self.speakers), time).await?;
        let processor = self.processor_time()?.saturating_sub(before);
        self.speakers = speakers;
        self.acknowledged += spoken.bets;
        let mut memory = self.ids().map(processes::memory_high_mib);
        let memory = memory.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))?;
        Ok(sample(spoken, Some(processor), Some(memory)))
    }

    /// Every packet was answered: what is stored is exactly what was acknowledged.
    async fn check(mut self) -> anyhow::Result<()> {
        let stopped = self.cluster.stop().await;
        stopped.map_err(|mut errors| errors.swap_remove(0)).context("stop the servers")?;
        let stored = LineCounter::new(self.cluster.plan().volume.bets()).count();
        let stored = stored.context("count what is stored")?;
        let acknowledged = self.acknowledged;
        ensure!(stored == acknowledged, "{stored} rows are stored, {acknowledged} acknowledged");
        self.place.close().context("remove what was stored")
    }
}

impl Contestant for Ours {
    fn name(&self) -> String {
        match self.cluster.servers().len() {
            1 => "1 instance".to_owned(),
            more => format!("{more} instances"),
        }
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.measure(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
