//! Where a run takes place: its servers, its proxies, its agencies' clients, and who commands them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer_checker::AnswerChecker;
use super::client_controller::{ClientCommand, ClientController};
use super::draw_watch::DrawWatch;
use super::intruder::Intruder;
use super::plan::{AgencyPlan, DATAGRAMS_PART, INTRUDER_PART, RunPlan};
use super::registry::ServerRegistry;
use super::server_controller::{Command, ServerController};
use super::small_disk::{SmallDisk, copy_files};
use crate::common::WINNER;
use crate::common::checks::Case;
use crate::common::run_context::RunContext;
use crate::common::tally::{Findings, Tallies};
use crate::processes::network::datagrams::Relay;
use crate::processes::network::entry_points::{EntryPoints, Network, host};
use crate::processes::network::names::Names;
use crate::processes::network::proxy::ProxyContext;
use harness::bets_dir::{BetsDirectory, Generate};
use harness::client_process::ClientEnd;
use harness::cluster::Plan;
use harness::directory;
use harness::process::Launch;
use harness::rng::Rng;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use harness::volume::Volume;
use oracle::expected::expect;

/// The last bytes of addresses: where the first server is and where it moves to, and where it
/// announces to.
const SERVER_HOSTS: [u8; 2] = [1, 51];
const ANNOUNCE_HOST: u8 = 171;

/// The shortest that a client accepts, so that hung connections do not take all of the time.
const ANSWER_TIMEOUT_SECONDS: u64 = 6;
const WINNERS_PATIENCE_SECONDS: u64 = 2;

/// What a run is given.
#[derive(Debug, Clone)]
pub struct Given {
    /// This program, which is server and client, too.
    pub binary: PathBuf,
    /// Where names can be had.
    pub names: Option<Names>,
}

/// Everything of a run that lives while it lasts.
#[derive(Debug)]
pub struct ProcessEnvironment {
    /// The servers' commands, in the order of their places.
    pub commands: Vec<UnboundedSender<Command>>,
    /// The servers, as they are given back.
    pub servers: JoinSet<(usize, anyhow::Result<ServerProcess>)>,
    /// Where the servers are.
    pub registry: ServerRegistry,
    /// The first client of each agency: its commands.
    pub clients: Vec<UnboundedSender<ClientCommand>>,
    /// All clients.
    pub ends: JoinSet<anyhow::Result<(u32, ClientEnd)>>,
    /// The bets that are sent.
    pub bets: BetsDirectory,
    /// What the servers share.
    pub volume: Volume,
    /// The disk of it, if it is a small one.
    pub disk: Option<Arc<SmallDisk>>,
    /// Who sees all packets.
    pub checker: AnswerChecker,
    /// Who sees the draw.
    pub draw: DrawWatch,
    /// From when on nothing more goes wrong.
    pub faults_over: CancellationToken,
    /// What was done, and what it led to.
    pub tallies: Tallies,
    /// What should not have happened.
    pub findings: Findings,
    /// Where clients find the servers.
    pub entry_points: EntryPoints,
    binary: PathBuf,
    directory: PathBuf,
    network: Network,
    /// How often each server was moved.
    moves: Vec<usize>,
    second_clients: u64,
    // Held: ports that are heard, and what passes datagrams on.
    _ports: Vec<UdpPort>,
    _relay: Relay,
}

impl ProcessEnvironment {
    /// Makes bets, starts servers, proxies and clients.
    ///
    /// # Errors
    /// Something does not start; then nothing is left running.
    pub async fn start(
        plan: &RunPlan,
        given: &Given,
        run: &RunContext<'_>,
    ) -> anyhow::Result<Self> {
        let (findings, tallies) = (run.findings.clone(), run.tallies.clone());
        let directory = run.directory.path();
        let (volume, disk) = make_volume(plan, given, run)?;
        let generate = Generate {
            agencies: plan.agencies.len() as u32,
            rows: plan.rows,
            seed: plan.seed,
            winner_number: WINNER,
        };
        let bets = BetsDirectory::generate(&given.binary, directory, generate).await?;
        let (registry, faults_over) = (ServerRegistry::default(), CancellationToken::new());
        let checker =
            AnswerChecker::new(expect(&bets, WINNER)?, registry.clone(), findings.clone());
        let network = [127, rand::random_range(1..=254), rand::random()];
        let shared = ProxyContext {
            faults: plan.connection_faults.clone(),
            faults_over: faults_over.clone(),
            tally: tallies.faults.clone(),
            effects: tallies.effects.clone(),
            checker: checker.clone(),
            registry: registry.clone(),
        };
        let ports = (0..plan.servers).map(|_| UdpPort::take()).collect::<Result<Vec<_>, _>>()?;
        let announce_addresses =
            announce_addresses(network, &ports).context("tell a UDP port's number")?;
        let rng = Rng::new(plan.seed).fork(DATAGRAMS_PART);
        let mut environment = Self {
            commands: Vec::new(),
            servers: JoinSet::new(),
            registry,
            clients: Vec::new(),
            ends: JoinSet::new(),
            draw: DrawWatch::start(&volume, bets.agencies(), findings.clone()),
            entry_points: EntryPoints::start(plan, network, given.names.clone(), &shared).await?,
            bets,
            volume,
            disk,
            checker,
            faults_over,
            binary: given.binary.clone(),
            directory: directory.to_owned(),
            network,
            moves: vec![0; plan.servers],
            second_clients: 0,
            _ports: ports,
            _relay: Relay::start(&announce_addresses, &plan.datagrams, &rng, &tallies.faults)?,
            tallies,
            findings,
        };
        environment.start_servers(plan, &announce_addresses).await?;
        for (agency, agency_plan) in (1..).zip(&plan.agencies) {
            let (sender, commands) = unbounded_channel();
            environment.clients.push(sender);
            let launch = environment.client_launch(agency, agency_plan)?;
            environment.start_client(agency, format!("client-{agency}"), launch, commands);
        }
        environment.start_intruder(plan);
        Ok(environment)
    }

    async fn start_servers(
        &mut self,
        plan: &RunPlan,
        announce_addresses: &[SocketAddr],
    ) -> anyhow::Result<()> {
        let cluster = Plan {
            binary: self.binary.clone(),
            servers: plan.servers as u8,
            agencies: plan.agencies.len() as u32,
            winner_number: WINNER,
            network: self.network,
            directory: self.directory.clone(),
            volume: self.volume.clone(),
            server_settings: Vec::new(),
        };
        let mut starting = Vec::new();
        for (place, address) in (1..).zip(announce_addresses) {
            let launch =
                cluster.server(place, address.port()).with("UDP_BROADCAST_IP", address.ip());
            let name = format!("server-{place}");
            starting.push(ServerProcess::spawn(&name, launch, &self.directory)?);
        }
        for (place, starting) in starting.into_iter().enumerate() {
            let server = starting.listening().await?;
            self.registry.add(server.address());
            let (sender, commands) = unbounded_channel();
            self.commands.push(sender);
            let (registry, faults_over) = (self.registry.clone(), self.faults_over.clone());
            let (tally, findings) = (self.tallies.faults.clone(), self.findings.clone());
            let controller = ServerController {
                place,
                server,
                registry,
                commands,
                faults_over,
                tally,
                findings,
            };
            self.servers.spawn(async move { (place, controller.run().await) });
        }
        Ok(())
    }

    fn start_intruder(&self, plan: &RunPlan) {
        let intruder = Intruder {
            registry: self.registry.clone(),
            checker: self.checker.clone(),
            rng: Rng::new(plan.seed).fork(INTRUDER_PART),
            tally: self.tallies.faults.clone(),
            findings: self.findings.clone(),
            faults_over: self.faults_over.clone(),
        };
        tokio::spawn(intruder.run());
    }

    /// A client that goes by the proxies.
    fn client_launch(&self, agency: u32, plan: &AgencyPlan) -> anyhow::Result<Launch> {
        Ok(self
            .launch(agency, self.entry_points.servers_of(plan)?)
            .with("CLI_ANSWER_TIMEOUT", ANSWER_TIMEOUT_SECONDS)
            .with("CLI_BATCH_SIZE", plan.batch)
            .with("CLI_WINNERS_PATIENCE", WINNERS_PATIENCE_SECONDS))
    }

    /// A client of `agency` that knows `servers`.
    #[must_use]
    pub fn launch(&self, agency: u32, servers: String) -> Launch {
        Launch::new(&self.binary, &["client"])
            .with("CLI_BETS_DIR", self.bets.path().display())
            .with("CLI_ID", agency)
            .with("CLI_LOG_LEVEL", "info")
            .with("CLI_SERVER_ADDRESS", servers)
    }

    /// Starts a second client of `agency`.
    ///
    /// # Errors
    /// An address is not known.
    pub fn start_second_client(&mut self, agency: u32, batch: u64) -> anyhow::Result<()> {
        self.tallies.faults.add("second client of an agency");
        self.second_clients += 1;
        let (number, is_by_name) = (self.second_clients, self.second_clients.is_multiple_of(2));
        let (dead_addresses, has_mute_address) = (0, false);
        let plan = AgencyPlan { batch, dead_addresses, has_mute_address, is_by_name };
        let launch = self.client_launch(agency, &plan)?;
        // Nobody commands it: it only runs to its end.
        let (sender, commands) = unbounded_channel();
        drop(sender);
        self.start_client(agency, format!("client-{agency}-second-{number}"), launch, commands);
        Ok(())
    }

    fn start_client(
        &mut self,
        agency: u32,
        name: String,
        launch: Launch,
        commands: UnboundedReceiver<ClientCommand>,
    ) {
        let controller = ClientController {
            agency,
            name,
            launch,
            directory: self.directory.clone(),
            volume: self.volume.clone(),
            commands,
            faults_over: self.faults_over.clone(),
            tally: self.tallies.faults.clone(),
            findings: self.findings.clone(),
        };
        self.ends.spawn(controller.run());
    }

    /// Where the server at `place` is to move to now.
    pub fn next_address(&mut self, place: usize) -> Ipv4Addr {
        let count = self.moves.get_mut(place).map_or(0, |count| {
            *count += 1;
            *count
        });
        let home = if count.is_multiple_of(2) { SERVER_HOSTS[0] } else { SERVER_HOSTS[1] };
        host(self.network, home + place as u8)
    }

    /// What is to be judged at the end.
    #[must_use]
    pub fn case(&self) -> Case {
        let (bets, volume) = (self.bets.clone(), self.volume.clone());
        Case { bets, volume, findings: self.findings.clone() }
    }

    /// Where the run's files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies what is on a small disk to where it stays.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn keep_disk(&self) -> io::Result<()> {
        match &self.disk {
            Some(_) => copy_files(self.volume.path(), &self.directory.join("volume")),
            None => Ok(()),
        }
    }
}

/// The volume, on a small disk if the run is to have one and may.
fn make_volume(
    plan: &RunPlan,
    given: &Given,
    run: &RunContext<'_>,
) -> anyhow::Result<(Volume, Option<Arc<SmallDisk>>)> {
    let mut directory = run.directory.path().to_owned();
    let mut disk = None;
    if plan.has_small_disk {
        let path = directory::make(&directory.join("disk"))?;
        match SmallDisk::mount(&path) {
            Some(mounted) => (disk, directory) = (Some(Arc::new(mounted)), path),
            None => run.tallies.skipped.add("full disk"),
        }
    }
    if given.names.is_none() && plan.agencies.iter().any(|agency| agency.is_by_name) {
        run.tallies.skipped.add("names that change");
    }
    Ok((Volume::new(&directory::make(&directory.join("volume"))?), disk))
}

/// Where the servers announce to, in the order of their places.
fn announce_addresses(network: Network, ports: &[UdpPort]) -> io::Result<Vec<SocketAddr>> {
    let address = |(place, port): (u8, &UdpPort)| {
        Ok(SocketAddr::from((host(network, ANNOUNCE_HOST + place), port.number()?)))
    };
    (0..).zip(ports).map(address).collect()
}
