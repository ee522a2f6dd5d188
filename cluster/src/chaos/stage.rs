//! Where a run takes place: its servers, its proxies, its agencies' clients, and who commands them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client_seat::{ClientSeat, EndClient};
use super::dice::Dice;
use super::plan::{AgencyPlan, PROXY_PART, RunPlan};
use super::proxy::{Air, Proxy};
use super::server_seat::{Command, ServerSeat};
use super::tally::{Findings, Tally};
use super::witness::{Witness, expect};
use crate::bets_dir::{BetsDirectory, Generate};
use crate::client_process::ClientEnd;
use crate::cluster::Plan;
use crate::directory::{self, RunDirectory};
use crate::process::Launch;
use crate::server_process::ServerProcess;
use crate::udp_port::UdpPort;
use crate::volume::Volume;

/// The number that wins in all runs.
pub const WINNER: u16 = 7574;

/// The last byte of the first proxy's address, and of addresses at which nobody listens or answers.
const PROXY_HOST: u8 = 101;
const MUTE_HOST: u8 = 201;
const DEAD_HOST: u8 = 211;

/// The shortest that a client accepts, so that hung connections do not take all of the time.
const ANSWER_TIMEOUT_SECONDS: u64 = 6;
const WINNERS_PATIENCE_SECONDS: u64 = 2;

/// Everything of a run that lives while it lasts.
#[derive(Debug)]
pub struct Stage {
    /// The servers' commands, in the order of their places.
    pub commands: Vec<UnboundedSender<Command>>,
    /// The servers, as they are given back.
    pub servers: JoinSet<(usize, anyhow::Result<ServerProcess>)>,
    /// The first client of each agency: its commands.
    pub clients: Vec<UnboundedSender<EndClient>>,
    /// All clients.
    pub ends: JoinSet<anyhow::Result<(u32, ClientEnd)>>,
    /// The addresses of all servers.
    pub addresses: Vec<SocketAddr>,
    /// The bets that are sent.
    pub bets: BetsDirectory,
    /// What the servers share.
    pub volume: Volume,
    /// Who sees all packets.
    pub witness: Witness,
    /// From when on nothing more goes wrong.
    pub calm: CancellationToken,
    /// What was done.
    pub tally: Tally,
    /// What should not have happened.
    pub findings: Findings,
    binary: PathBuf,
    directory: PathBuf,
    proxies: Vec<Proxy>,
    network: [u8; 3],
    // Held: the port that is heard, and one that nobody else hears; an address that is mute.
    _ports: [UdpPort; 2],
    _mute: TcpListener,
}

impl Stage {
    /// Makes bets, starts servers, proxies and clients.
    ///
    /// # Errors
    /// Something does not start; then nothing is left running.
    pub async fn set(
        plan: &RunPlan,
        binary: &Path,
        directory: &RunDirectory,
        findings: Findings,
        tally: Tally,
    ) -> anyhow::Result<Self> {
        let path = directory.path();
        let volume = Volume::new(&directory::make(&path.join("volume"))?);
        let generate = Generate {
            agencies: plan.agencies.len() as u32,
            rows: plan.rows,
            seed: plan.seed,
            winner_number: WINNER,
        };
        let bets = BetsDirectory::generate(binary, path, generate).await?;
        let witness = Witness::new(expect(&bets, WINNER)?, findings.clone());
        let network = [127, rand::random_range(1..=254), rand::random()];
        let ports = [UdpPort::take()?, UdpPort::take()?];
        let mute = TcpListener::bind((host(network, MUTE_HOST), 0)).context("bind mute")?;
        let mut stage = Self {
            commands: Vec::new(),
            servers: JoinSet::new(),
            clients: Vec::new(),
            ends: JoinSet::new(),
            addresses: Vec::new(),
            bets,
            volume,
            witness,
            calm: CancellationToken::new(),
            tally,
            findings,
            binary: binary.to_owned(),
            directory: path.to_owned(),
            proxies: Vec::new(),
            network,
            _ports: ports,
            _mute: mute,
        };
        stage.start_servers(plan).await?;
        stage.start_proxies(plan).await?;
        for (agency, agency_plan) in (1..).zip(&plan.agencies) {
            let (sender, commands) = unbounded_channel();
            stage.clients.push(sender);
            let launch = stage.client_launch(agency, agency_plan)?;
            stage.start_client(agency, format!("client-{agency}"), launch, commands);
        }
        Ok(stage)
    }

    async fn start_servers(&mut self, plan: &RunPlan) -> anyhow::Result<()> {
        let cluster = Plan {
            binary: self.binary.clone(),
            servers: plan.hears.len() as u8,
            agencies: plan.agencies.len() as u32,
            winner_number: WINNER,
            network: self.network,
            directory: self.directory.clone(),
            volume: self.volume.clone(),
            server_settings: Vec::new(),
        };
        let [heard, deaf] = &self._ports;
        let (heard, deaf) = (heard.number()?, deaf.number()?);
        let mut starting = Vec::new();
        for (place, hears) in (1..).zip(&plan.hears) {
            let launch = cluster.server(place, if *hears { heard } else { deaf });
            let name = format!("server-{place}");
            starting.push(ServerProcess::spawn(&name, launch, &self.directory)?);
            if !hears {
                self.tally.add("server's datagrams blocked");
            }
        }
        for (place, starting) in starting.into_iter().enumerate() {
            let server = starting.listening().await?;
            self.addresses.push(server.address());
            let (sender, commands) = unbounded_channel();
            self.commands.push(sender);
            let (calm, tally) = (self.calm.clone(), self.tally.clone());
            let findings = self.findings.clone();
            let seat = ServerSeat { server, commands, calm, tally, findings };
            self.servers.spawn(async move { (place, seat.run().await) });
        }
        Ok(())
    }

    async fn start_proxies(&mut self, plan: &RunPlan) -> anyhow::Result<()> {
        let air = Air {
            weather: plan.weather.clone(),
            calm: self.calm.clone(),
            tally: self.tally.clone(),
            witness: self.witness.clone(),
            servers: self.addresses.clone(),
        };
        for (place, upstream) in (0..).zip(self.addresses.clone()) {
            let dice = Dice::new(plan.seed).fork(PROXY_PART + u64::from(place));
            let ip = host(self.network, PROXY_HOST + place);
            self.proxies.push(Proxy::start(ip, upstream, air.clone(), dice).await?);
        }
        Ok(())
    }

    /// A client that goes by the proxies.
    fn client_launch(&self, agency: u32, plan: &AgencyPlan) -> anyhow::Result<Launch> {
        let mut addresses: Vec<SocketAddr> = self.proxies.iter().map(Proxy::address).collect();
        for dead in 0..plan.dead_addresses {
            self.tally.add("dead address in a list");
            addresses.push(SocketAddr::from((host(self.network, DEAD_HOST + dead as u8), 9)));
        }
        if plan.has_mute_address {
            self.tally.add("mute address in a list");
            addresses.push(self._mute.local_addr().context("tell a mute address")?);
        }
        Ok(self
            .launch(agency, &addresses)
            .with("CLI_ANSWER_TIMEOUT", ANSWER_TIMEOUT_SECONDS)
            .with("CLI_BATCH_SIZE", plan.batch)
            .with("CLI_WINNERS_PATIENCE", WINNERS_PATIENCE_SECONDS))
    }

    /// A client of `agency` that knows `addresses`.
    #[must_use]
    pub fn launch(&self, agency: u32, addresses: &[SocketAddr]) -> Launch {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Launch::new(&self.binary, &["client"])
            .with("CLI_BETS_DIR", self.bets.path().display())
            .with("CLI_ID", agency)
            .with("CLI_LOG_LEVEL", "info")
            .with("CLI_SERVER_ADDRESS", addresses.join(","))
    }

    /// Starts a second client of `agency`.
    ///
    /// # Errors
    /// An address is not known.
    pub fn start_twin(&mut self, agency: u32, batch: u64, number: u64) -> anyhow::Result<()> {
        self.tally.add("second client of an agency");
        let plan = AgencyPlan { batch, dead_addresses: 0, has_mute_address: false };
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
        commands: tokio::sync::mpsc::UnboundedReceiver<EndClient>,
    ) {
        let seat = ClientSeat {
            agency,
            name,
            launch,
            directory: self.directory.clone(),
            volume: self.volume.clone(),
            commands,
            calm: self.calm.clone(),
            tally: self.tally.clone(),
            findings: self.findings.clone(),
        };
        self.ends.spawn(seat.run());
    }
}

fn host([a, b, c]: [u8; 3], d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}
