//! This project's servers as contestants.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets};
use super::load::{self, Speaker, Talk};
use super::measures::sample;
use crate::bench::answer::{Role, Sample};
use crate::bench::daemon::{self, Daemon};
use crate::bench::processes;
use crate::bench::stage::Stage;
use crate::bench::turns::{Contestant, Pending};
use crate::cluster::Plan;
use crate::udp_port::UdpPort;
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
    instances: Vec<Daemon>,
    speakers: Vec<Speaker<Rows>>,
    acknowledged: u64,
    place: TempDir,
    /// Held so that the port stays these instances'.
    _udp_port: UdpPort,
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
        let udp_port = UdpPort::take().context("take a UDP port")?;
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
        let (mut started, mut addresses) = (Vec::new(), Vec::new());
        for instance in 1..=instances {
            let address = daemon::free_address(Ipv4Addr::new(127, 0, 0, instance))?;
            let launch = plan.server(instance, udp_port.number()?);
            let launch = launch.with("SERVER_PORT", address.port());
            let name = format!("server-{instance}");
            let mut daemon = Daemon::launch(&name, &launch, place.path())?;
            daemon.listens(address).await?;
            started.push(daemon);
            addresses.push(address);
        }
        let agencies = (1..=setting.agencies).zip(addresses.iter().cycle());
        let speakers = agencies
            .map(|(agency, &at)| Speaker::connect(at, Rows::new(agency, setting, bets)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { instances: started, speakers, acknowledged: 0, place, _udp_port: udp_port })
    }

    fn processor_time(&self) -> anyhow::Result<Duration> {
        self.instances.iter().map(|it| processes::processor_time(it.id()?)).sum()
    }

    /// That of the instance that needs most.
    fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut all = self.instances.iter().map(|it| processes::memory_high_mib(it.id()?));
        all.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let before = self.processor_time()?;
        let (speakers, spoken) = load::run(std::mem::take(&mut self.speakers), time).await?;
        let processor = self.processor_time()?.saturating_sub(before);
        self.speakers = speakers;
        self.acknowledged += spoken.bets;
        Ok(sample(spoken, Some(processor), Some(self.memory_mib()?)))
    }

    /// Every packet was answered: what is stored is exactly what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        for instance in self.instances {
            instance.stop(Signal::TERM).await?;
        }
        let stored = LineCounter::new(Volume::new(self.place.path()).bets()).count();
        let stored = stored.context("count what is stored")?;
        let acknowledged = self.acknowledged;
        ensure!(stored == acknowledged, "{stored} rows are stored, {acknowledged} acknowledged");
        self.place.close().context("remove what was stored")
    }
}

impl Contestant for Ours {
    fn name(&self) -> String {
        match self.instances.len() {
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
