//! Chaos with processes: servers and clients of this machine, with a proxy before each server.
//!
//! Nothing here changes a server or a client, or knows their code.

mod client_log;
mod intruder;
mod member;
pub mod mounts;
pub mod network;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::intruder::Intruder;
use self::member::{Client, Process, Role, Server};
use self::mounts::SmallDisk;
use self::network::datagrams;
use self::network::entry_points::{EntryPoints, Network, host};
use self::network::names::Names;
use self::network::proxy::ProxyContext;
use crate::checks::DISK_FULL;
use crate::environment::{Environment, Lottery, Member as _, WINNER};
use crate::fault::{Fault, Kind, Target};
use crate::plan::{AGENCY_PART, AgencyPlan, DATAGRAMS_PART, INTRUDER_PART, RunPlan};
use crate::report::Report;
use harness::cluster::ClusterPlan;
use harness::directory;
use harness::process::Launch;
use harness::rng::Rng;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use harness::volume::Volume;

/// The last bytes of addresses: where the first server is and where it moves to, and where it
/// announces to.
const SERVER_HOST: u8 = 1;
const SERVER_HOST_AWAY: u8 = 51;
const ANNOUNCE_HOST: u8 = 171;

/// The shortest that a client accepts, so that connections that do not answer take little time.
const ANSWER_TIMEOUT_SECONDS: u64 = 6;
const WINNERS_PATIENCE_SECONDS: u64 = 2;

/// Everything of a run that lives while it lasts.
#[derive(Debug)]
pub struct ProcessEnvironment {
    lottery: Arc<Lottery<Process>>,
    /// The disk of the volume, if it is a small one.
    disk: Option<SmallDisk>,
    /// Where clients find the servers.
    entry_points: Mutex<EntryPoints>,
    binary: PathBuf,
    seed: u64,
    network: Network,
    // Held: ports that are in use, and tasks.
    _ports: Vec<UdpPort>,
    _relay: JoinSet<()>,
    _intruder: AbortOnDropHandle<()>,
}

impl Environment for ProcessEnvironment {
    type Member = Process;
    /// The names of servers, where the system grants them.
    type Given = Option<Names>;
    const KIND: Kind = Kind::Processes;
    const STALL: Duration = Duration::from_millis(600);
    const END_TIMEOUT: Duration = Duration::from_secs(100);

    async fn start(
        plan: &RunPlan,
        names: &Option<Names>,
        place @ (binary, directory): (&Path, &Path),
        report: &Report,
    ) -> anyhow::Result<Self> {
        let (volume, disk) = make_volume(plan, directory, report)?;
        if names.is_none() && plan.agencies.iter().any(|agency| agency.is_by_name) {
            report.skip("names that change");
        }
        let lottery = Lottery::prepare(plan, Kind::Processes, place, volume, report).await?;
        let lottery = Arc::new(lottery);
        let network = [127, rand::random_range(1..=254), rand::random()];
        let faults = plan.connection_faults.clone();
        let shared = ProxyContext { faults, lottery: Arc::clone(&lottery) };
        let ports = (0..plan.servers).map(|_| UdpPort::take()).collect::<Result<Vec<_>, _>>()?;
        let announce_address = |(place, port): (u8, &UdpPort)| {
            Ok(SocketAddr::from((host(network, ANNOUNCE_HOST + place), port.number()?)))
        };
        let announce_addresses: io::Result<Vec<_>> =
            (0..).zip(&ports).map(announce_address).collect();
        let announce_addresses = announce_addresses.context("find a UDP port's number")?;
        let entry_points = EntryPoints::start(plan, network, names.clone(), &shared).await?;
        let rng = Rng::new(plan.seed);
        let part = rng.fork(DATAGRAMS_PART);
        let relay = datagrams::relay(&announce_addresses, &plan.datagrams, &part, report)?;
        start_servers(&lottery, binary, network, &announce_addresses).await?;
        let intruder = Intruder { lottery: Arc::clone(&lottery), rng: rng.fork(INTRUDER_PART) };
        let environment = Self {
            lottery,
            disk,
            entry_points: Mutex::new(entry_points),
            binary: binary.to_owned(),
            seed: plan.seed,
            network,
            _ports: ports,
            _relay: relay,
            _intruder: AbortOnDropHandle::new(tokio::spawn(intruder.run())),
        };
        for (agency, agency_plan) in (1..).zip(&plan.agencies) {
            environment.start_client(agency, format!("client-{agency}"), agency_plan).await?;
        }
        Ok(environment)
    }

    fn lottery(&self) -> &Lottery<Process> {
        &self.lottery
    }

    async fn cause(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Tear { server, bytes, down } => self.tear(server, bytes, down).await,
            Fault::Move { server, down, stale } => self.move_server(server, down, stale).await,
            Fault::SecondClient { agency } => self.start_second_client(agency).await,
            Fault::ChangeName { places, has_dead, lasts } => {
                self.change_name(&places, has_dead, lasts).await
            }
            Fault::FillDisk { left, lasts } => self.fill_disk(left, lasts).await,
            other => anyhow::bail!("{other:?} is not for processes"),
        }
    }

    async fn server_logs(&self) -> anyhow::Result<Vec<(String, Vec<String>)>> {
        let mut logs = Vec::new();
        for server in self.lottery.servers() {
            let server = server.lock().await;
            let Role::Server(Server { process, .. }) = &server.role else { continue };
            let text = client_log::text_of(process.process());
            logs.push((server.name(), text.lines().map(str::to_owned).collect()));
        }
        Ok(logs)
    }

    /// Copies what is on a small disk to where it stays.
    async fn finish(&self) -> anyhow::Result<()> {
        if self.disk.is_some() && self.lottery.report.has_violations() {
            let mut copy = Command::new("cp");
            copy.arg("--recursive").arg(self.lottery.volume.path()).arg(&self.lottery.directory);
            anyhow::ensure!(mounts::succeeds(&mut copy), "the files of the disk cannot be kept");
        }
        Ok(())
    }
}

impl ProcessEnvironment {
    /// Starts a client of `agency` that goes by the proxies.
    async fn start_client(
        &self,
        agency: u32,
        name: String,
        plan: &AgencyPlan,
    ) -> anyhow::Result<()> {
        let launch = Launch::new(&self.binary, &["client"])
            .with("CLI_ANSWER_TIMEOUT", ANSWER_TIMEOUT_SECONDS)
            .with("CLI_BATCH_SIZE", plan.batch)
            .with("CLI_BETS_DIR", self.lottery.bets.path().display())
            .with("CLI_ID", agency)
            .with("CLI_LOG_LEVEL", "info")
            .with("CLI_SERVER_ADDRESS", self.entry_points.lock().await.servers_of(plan)?)
            .with("CLI_WINNERS_PATIENCE", WINNERS_PATIENCE_SECONDS);
        let place = (self.lottery.directory.clone(), self.lottery.volume.clone());
        let part = AGENCY_PART + self.lottery.clients().len() as u64;
        let client = Client::spawn(agency, name, launch, place, Rng::new(self.seed).fork(part))?;
        let (report, role) = (self.lottery.report.clone(), Role::Client(client));
        self.lottery.add(Process { report, role });
        Ok(())
    }

    async fn start_second_client(&self, agency: usize) -> anyhow::Result<()> {
        self.lottery.report.fault("second client of an agency");
        let number = self.lottery.clients().len();
        let agency = 1 + agency as u32 % self.lottery.bets.agencies();
        let batch = crate::plan::batch(&mut Rng::new(self.seed).fork(AGENCY_PART + number as u64));
        let (dead_addresses, has_mute_address) = (0, false);
        let is_by_name = number.is_multiple_of(2);
        let plan = AgencyPlan { batch, dead_addresses, has_mute_address, is_by_name };
        self.start_client(agency, format!("client-{agency}-second-{number}"), &plan).await
    }

    async fn tear(&self, target: Target, bytes: u64, down: Duration) -> anyhow::Result<()> {
        let Some(mut member) = self.lottery.lock(target).await? else { return Ok(()) };
        let Role::Server(server) = &mut member.role else { return Ok(()) };
        let stored = std::fs::metadata(self.lottery.volume.bets()).map_or(0, |file| file.len());
        if server.tear(stored + bytes, &self.lottery.report).await? {
            self.lottery.report.fault("server dead within a write");
            self.lottery.last(down).await;
            member.start().await?;
        }
        Ok(())
    }

    /// The proxy before the server moves at once, the server itself when it is started again.
    async fn move_server(
        &self,
        target: Target,
        down: Duration,
        stale: Duration,
    ) -> anyhow::Result<()> {
        {
            let Some(mut member) = self.lottery.lock(target).await? else { return Ok(()) };
            let Role::Server(server) = &mut member.role else { return Ok(()) };
            let is_moved =
                self.entry_points.lock().await.move_to_other_address(server.place).await?;
            let home = if is_moved { SERVER_HOST_AWAY } else { SERVER_HOST };
            let address = host(self.network, home + server.place as u8);
            server.process.set("SERVER_IP", address);
            self.lottery.report.fault("server moved to another address");
            member.kill().await?;
            self.lottery.last(down).await;
            member.start().await?;
        }
        self.lottery.last(stale).await;
        self.entry_points.lock().await.show()
    }

    async fn change_name(
        &self,
        places: &[usize],
        has_dead: bool,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        if !self.entry_points.lock().await.has_name() {
            return Ok(());
        }
        self.lottery.report.fault("name with other addresses");
        self.entry_points.lock().await.show_only(places, has_dead)?;
        self.lottery.last(lasts).await;
        self.entry_points.lock().await.show()
    }

    async fn fill_disk(&self, left: u64, lasts: Duration) -> anyhow::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        self.lottery.report.fault(DISK_FULL);
        disk.fill(left).context("fill the disk")?;
        self.lottery.last(lasts).await;
        disk.free().context("free the disk")
    }
}

async fn start_servers(
    lottery: &Lottery<Process>,
    binary: &Path,
    network: Network,
    announce_addresses: &[SocketAddr],
) -> anyhow::Result<()> {
    let cluster = ClusterPlan {
        agencies: lottery.bets.agencies(),
        winner_number: WINNER,
        network,
        volume: lottery.volume.clone(),
        ..ClusterPlan::new(binary, &lottery.directory)
    };
    let mut starting = Vec::new();
    for (place, address) in (1..).zip(announce_addresses) {
        let launch = cluster.server(place, address.port()).with("UDP_BROADCAST_IP", address.ip());
        starting.push(ServerProcess::spawn(
            &format!("server-{place}"),
            launch,
            &lottery.directory,
        )?);
    }
    for (place, starting) in starting.into_iter().enumerate() {
        let process = starting.listening().await?;
        lottery.registry.set_available(place, process.address());
        let role = Role::Server(Server { place, process, registry: lottery.registry.clone() });
        lottery.add(Process { report: lottery.report.clone(), role });
    }
    Ok(())
}

/// The volume, on a small disk if the run is to have one and may.
fn make_volume(
    plan: &RunPlan,
    directory: &Path,
    report: &Report,
) -> anyhow::Result<(Volume, Option<SmallDisk>)> {
    let (mut directory, mut disk) = (directory.to_owned(), None);
    if plan.has_small_disk {
        let path = directory::make(&directory.join("disk"))?;
        match SmallDisk::mount(&path) {
            Some(mounted) => (disk, directory) = (Some(mounted), path),
            None => report.skip("full disk"),
        }
    }
    Ok((Volume::new(&directory::make(&directory.join("volume"))?), disk))
}
