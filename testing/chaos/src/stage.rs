//! Where a run takes place: its servers, its proxies, its agencies' clients, and who commands them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client_seat::{ClientCommand, ClientSeat};
use super::datagrams::Relay;
use super::draw_watch::DrawWatch;
use super::front::{Front, Network, host};
use super::meddler::Meddler;
use super::names::Names;
use super::plan::{AgencyPlan, DATAGRAMS_PART, MEDDLER_PART, RunPlan};
use super::proxy::Air;
use super::roster::Roster;
use super::server_seat::{Command, ServerSeat};
use super::small_disk::{SmallDisk, copy_files};
use super::witness::Witness;
use crate::trial::WINNER;
use crate::trial::scene::Scene;
use crate::trial::tally::{Findings, Tallies};
use crate::trial::verdict::Case;
use harness::bets_dir::{BetsDirectory, Generate};
use harness::client_process::ClientEnd;
use harness::cluster::Plan;
use harness::dice::Dice;
use harness::directory;
use harness::process::Launch;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use harness::volume::Volume;
use oracle::expected::expect;

/// The last bytes of addresses: where the first server is and where it moves to, and where it
/// announces to.
const SERVER_HOSTS: [u8; 2] = [1, 51];
const DOOR_HOST: u8 = 171;

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
pub struct Stage {
    /// The servers' commands, in the order of their places.
    pub commands: Vec<UnboundedSender<Command>>,
    /// The servers, as they are given back.
    pub servers: JoinSet<(usize, anyhow::Result<ServerProcess>)>,
    /// Where the servers are.
    pub roster: Roster,
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
    pub witness: Witness,
    /// Who sees the draw.
    pub draw: DrawWatch,
    /// From when on nothing more goes wrong.
    pub calm: CancellationToken,
    /// What was done, and what it led to.
    pub tallies: Tallies,
    /// What should not have happened.
    pub findings: Findings,
    /// Where clients find the servers.
    pub front: Front,
    binary: PathBuf,
    directory: PathBuf,
    network: Network,
    /// How often each server was moved.
    moves: Vec<usize>,
    twins: u64,
    // Held: ports that are heard, and what passes datagrams on.
    _ports: Vec<UdpPort>,
    _relay: Relay,
}

impl Stage {
    /// Makes bets, starts servers, proxies and clients.
    ///
    /// # Errors
    /// Something does not start; then nothing is left running.
    pub async fn set(plan: &RunPlan, given: &Given, scene: &Scene<'_>) -> anyhow::Result<Self> {
        let (findings, tallies) = (scene.findings.clone(), scene.tallies.clone());
        let directory = scene.directory.path();
        let (volume, disk) = make_volume(plan, given, scene)?;
        let generate = Generate {
            agencies: plan.agencies.len() as u32,
            rows: plan.rows,
            seed: plan.seed,
            winner_number: WINNER,
        };
        let bets = BetsDirectory::generate(&given.binary, directory, generate).await?;
        let (roster, calm) = (Roster::default(), CancellationToken::new());
        let witness = Witness::new(expect(&bets, WINNER)?, roster.clone(), findings.clone());
        let network = [127, rand::random_range(1..=254), rand::random()];
        let air = Air {
            weather: plan.weather.clone(),
            calm: calm.clone(),
            tally: tallies.faults.clone(),
            effects: tallies.effects.clone(),
            witness: witness.clone(),
            roster: roster.clone(),
        };
        let ports = (0..plan.servers).map(|_| UdpPort::take()).collect::<Result<Vec<_>, _>>()?;
        let doors = doors(network, &ports).context("tell a UDP port's number")?;
        let dice = Dice::new(plan.seed).fork(DATAGRAMS_PART);
        let mut stage = Self {
            commands: Vec::new(),
            servers: JoinSet::new(),
            roster,
            clients: Vec::new(),
            ends: JoinSet::new(),
            draw: DrawWatch::start(&volume, bets.agencies(), findings.clone()),
            front: Front::start(plan, network, given.names.clone(), &air).await?,
            bets,
            volume,
            disk,
            witness,
            calm,
            binary: given.binary.clone(),
            directory: directory.to_owned(),
            network,
            moves: vec![0; plan.servers],
            twins: 0,
            _ports: ports,
            _relay: Relay::start(&doors, &plan.datagrams, &dice, &tallies.faults)?,
            tallies,
            findings,
        };
        stage.start_servers(plan, &doors).await?;
        for (agency, agency_plan) in (1..).zip(&plan.agencies) {
            let (sender, commands) = unbounded_channel();
            stage.clients.push(sender);
            let launch = stage.client_launch(agency, agency_plan)?;
            stage.start_client(agency, format!("client-{agency}"), launch, commands);
        }
        stage.start_meddler(plan);
        Ok(stage)
    }

    async fn start_servers(&mut self, plan: &RunPlan, doors: &[SocketAddr]) -> anyhow::Result<()> {
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
        for (place, door) in (1..).zip(doors) {
            let launch = cluster.server(place, door.port()).with("UDP_BROADCAST_IP", door.ip());
            let name = format!("server-{place}");
            starting.push(ServerProcess::spawn(&name, launch, &self.directory)?);
        }
        for (place, starting) in starting.into_iter().enumerate() {
            let server = starting.listening().await?;
            self.roster.add(server.address());
            let (sender, commands) = unbounded_channel();
            self.commands.push(sender);
            let (roster, calm) = (self.roster.clone(), self.calm.clone());
            let (tally, findings) = (self.tallies.faults.clone(), self.findings.clone());
            let seat = ServerSeat { place, server, roster, commands, calm, tally, findings };
            self.servers.spawn(async move { (place, seat.run().await) });
        }
        Ok(())
    }

    fn start_meddler(&self, plan: &RunPlan) {
        let meddler = Meddler {
            roster: self.roster.clone(),
            witness: self.witness.clone(),
            dice: Dice::new(plan.seed).fork(MEDDLER_PART),
            tally: self.tallies.faults.clone(),
            findings: self.findings.clone(),
            calm: self.calm.clone(),
        };
        tokio::spawn(meddler.run());
    }

    /// A client that goes by the proxies.
    fn client_launch(&self, agency: u32, plan: &AgencyPlan) -> anyhow::Result<Launch> {
        Ok(self
            .launch(agency, self.front.servers_of(plan)?)
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
    pub fn start_twin(&mut self, agency: u32, batch: u64) -> anyhow::Result<()> {
        self.tallies.faults.add("second client of an agency");
        self.twins += 1;
        let (number, is_by_name) = (self.twins, self.twins.is_multiple_of(2));
        let (dead_addresses, has_mute_address) = (0, false);
        let plan = AgencyPlan { batch, dead_addresses, has_mute_address, is_by_name };
        let launch = self.client_launch(agency, &plan)?;
        // Nobody commands it: it only runs to its end.
        let (sender, commands) = unbounded_channel();
        drop(sender);
        self.start_client(agency, format!("twin-{agency}-{number}"), launch, commands);
        Ok(())
    }

    fn start_client(
        &mut self,
        agency: u32,
        name: String,
        launch: Launch,
        commands: UnboundedReceiver<ClientCommand>,
    ) {
        let seat = ClientSeat {
            agency,
            name,
            launch,
            directory: self.directory.clone(),
            volume: self.volume.clone(),
            commands,
            calm: self.calm.clone(),
            tally: self.tallies.faults.clone(),
            findings: self.findings.clone(),
        };
        self.ends.spawn(seat.run());
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
    scene: &Scene<'_>,
) -> anyhow::Result<(Volume, Option<Arc<SmallDisk>>)> {
    let mut directory = scene.directory.path().to_owned();
    let mut disk = None;
    if plan.has_small_disk {
        let path = directory::make(&directory.join("disk"))?;
        match SmallDisk::mount(&path) {
            Some(mounted) => (disk, directory) = (Some(Arc::new(mounted)), path),
            None => scene.tallies.skipped.add("full disk"),
        }
    }
    if given.names.is_none() && plan.agencies.iter().any(|agency| agency.is_by_name) {
        scene.tallies.skipped.add("names that change");
    }
    Ok((Volume::new(&directory::make(&directory.join("volume"))?), disk))
}

/// Where the servers announce to, in the order of their places.
fn doors(network: Network, ports: &[UdpPort]) -> io::Result<Vec<SocketAddr>> {
    let door = |(place, port): (u8, &UdpPort)| {
        Ok(SocketAddr::from((host(network, DOOR_HOST + place), port.number()?)))
    };
    (0..).zip(ports).map(door).collect()
}
