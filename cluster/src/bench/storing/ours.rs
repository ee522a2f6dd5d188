//! This project's servers as contestants.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Setting;
use super::bets::{self, Bets};
use super::load::{Speaker, Talk};
use super::served::Served;
use crate::bench::answer::{Role, Sample};
use crate::bench::daemon::{self, Daemon};
use crate::bench::stage::Stage;
use crate::bench::turns::{Contestant, Pending};
use crate::cluster::Plan;
use crate::udp_port::UdpPort;
use crate::volume::{LineCounter, Volume};

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
    served: Served<T>,
    /// Held so that the port stays these instances'.
    _udp_port: UdpPort,
}

impl<T: Talk> Ours<T> {
    /// Starts `instances` with their defaults, and lets `speaker` make each agency, given where
    /// its instance listens: one instance after the other.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        setting: Setting,
        instances: u8,
        stage: &Stage,
        speaker: impl Fn(u32, SocketAddr) -> anyhow::Result<Speaker<T>>,
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
        let (mut daemons, mut addresses) = (Vec::new(), Vec::new());
        for instance in 1..=instances {
            let address = daemon::free_address(Ipv4Addr::new(127, 0, 0, instance))?;
            let launch = plan.server(instance, udp_port.number()?);
            let launch = launch.with("SERVER_PORT", address.port());
            let name = format!("server-{instance}");
            let mut daemon = Daemon::launch(&name, &launch, place.path())?;
            daemon.listens(address).await?;
            daemons.push(daemon);
            addresses.push(address);
        }
        let agencies = (1..=setting.agencies).zip(addresses.iter().cycle());
        let speakers = agencies.map(|(agency, &address)| speaker(agency, address));
        let speakers = speakers.collect::<anyhow::Result<_>>()?;
        Ok(Self { served: Served::new(daemons, speakers, place), _udp_port: udp_port })
    }

    /// Every packet was answered: what is stored is exactly what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        let acknowledged = self.served.acknowledged();
        let place = self.served.stop().await?;
        let stored = LineCounter::new(Volume::new(place.path()).bets()).count();
        let stored = stored.context("count what is stored")?;
        ensure!(stored == acknowledged, "{stored} rows are stored, {acknowledged} acknowledged");
        place.close().context("remove what was stored")
    }
}

impl<T: Talk> Contestant for Ours<T> {
    fn name(&self) -> String {
        match self.served.count() {
            1 => "1 instance".to_owned(),
            more => format!("{more} instances"),
        }
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.served.round(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
