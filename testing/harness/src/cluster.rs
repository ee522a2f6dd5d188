//! Several instances over one volume, on loopback addresses of their own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::client_process::ClientProcess;
use crate::process::{ChildProcess, Launch};
use crate::server_process::ServerProcess;
use crate::udp_port::UdpPort;
use crate::volume::Volume;

/// A datagram to this address reaches the sockets of all instances on this machine.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The `cluster` program, which is server and client, too.
    pub binary: PathBuf,
    /// How many instances; 1..=254.
    pub servers: u8,
    /// How many agencies take part.
    pub agencies: u32,
    /// The winning number, 0..=9999.
    pub winner_number: u16,
    /// The first three bytes of the instances' addresses; the fourth counts them from 1.
    pub network: [u8; 3],
    /// Where logs and outputs go, and where the processes run.
    pub directory: PathBuf,
    /// What the instances share.
    pub volume: Volume,
    /// Further settings of every server, over the ones made here.
    pub server_settings: Vec<(String, String)>,
}

impl ClusterPlan {
    /// One instance for five agencies, whose files and volume are in `directory`.
    #[must_use]
    pub fn new(binary: &Path, directory: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            servers: 1,
            agencies: 5,
            winner_number: 7574,
            network: [127, 0, 0],
            directory: directory.to_owned(),
            volume: Volume::new(directory),
            server_settings: Vec::new(),
        }
    }

    /// The settings of instance `place`, counted from 1.
    #[must_use]
    pub fn server(&self, place: u8, udp_port: u16) -> Launch {
        let [a, b, c] = self.network;
        let launch = Launch::new(&self.binary, &["server"])
            .with("AGENCIES_AMOUNT", self.agencies)
            .with("LOGGING_LEVEL", "INFO")
            .with("LOTTERY_WINNER_NUMBER", self.winner_number)
            .with("SERVER_IP", Ipv4Addr::new(a, b, c, place))
            .with("SERVER_PORT", 0)
            .with("SHARED_VOLUME", self.volume.path().display())
            .with("UDP_BROADCAST_IP", LOOPBACK_BROADCAST)
            .with("UDP_BROADCAST_PORT", udp_port);
        self.server_settings.iter().fold(launch, |launch, (key, value)| launch.with(key, value))
    }
}

/// Running instances.
#[derive(Debug)]
pub struct Cluster {
    plan: ClusterPlan,
    servers: Vec<ServerProcess>,
    /// Held so that the port stays this cluster's.
    _udp_port: UdpPort,
}

impl Cluster {
    /// Starts all instances, and waits until all listen.
    ///
    /// # Errors
    /// One does not start; then none is left running.
    pub async fn start(plan: ClusterPlan) -> anyhow::Result<Self> {
        let udp_port = UdpPort::take().context("take a UDP port")?;
        let number = udp_port.number().context("read a UDP port's number")?;
        let starting: Vec<_> = (1..=plan.servers)
            .map(|place| {
                let (name, launch) = (format!("server-{place}"), plan.server(place, number));
                ChildProcess::spawn(&name, &launch, &plan.directory).map(ServerProcess::new)
            })
            .collect::<Result<_, _>>()?;
        let mut servers = Vec::with_capacity(starting.len());
        for server in starting {
            servers.push(server.listening().await?);
        }
        Ok(Self { plan, servers, _udp_port: udp_port })
    }

    /// What it is made of.
    #[must_use]
    pub fn plan(&self) -> &ClusterPlan {
        &self.plan
    }

    /// The instances, in the order of their addresses.
    #[must_use]
    pub fn servers(&self) -> &[ServerProcess] {
        &self.servers
    }

    /// The instances, to be stopped and started.
    pub fn servers_mut(&mut self) -> &mut [ServerProcess] {
        &mut self.servers
    }

    /// All addresses as a client's setting: `127.0.0.1:40001,127.0.0.2:40002`.
    #[must_use]
    pub fn addresses(&self) -> String {
        let all: Vec<_> = self.servers.iter().map(|server| server.address().to_string()).collect();
        all.join(",")
    }

    /// The settings of the client of `agency`, which knows all instances and sends
    /// `agency-<n>.csv` of `bets`.
    #[must_use]
    pub fn client_launch(&self, agency: u32, bets: &Path) -> Launch {
        Launch::new(&self.plan.binary, &["client"])
            .with("CLI_BETS_DIR", bets.display())
            // All servers are ours: one that closes without an answer is not to be taken for a legacy server.
            .with("CLI_FALLBACK", "no")
            .with("CLI_ID", agency)
            .with("CLI_LOG_LEVEL", "info")
            .with("CLI_SERVER_ADDRESS", self.addresses())
    }

    /// Starts the client of `agency` with these settings, as `client-<n>`.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn_client(&self, agency: u32, launch: Launch) -> anyhow::Result<ClientProcess> {
        let name = format!("client-{agency}");
        ClientProcess::spawn(&name, agency, launch, &self.plan.directory)
    }

    /// Stops all instances whose end was not waited for with SIGTERM, at once.
    ///
    /// # Errors
    /// Every instance that takes longer than 5 s, or whose exit code is not 0; they are killed
    /// when this is dropped.
    pub async fn stop(&mut self) -> Result<(), Vec<anyhow::Error>> {
        let mut errors = Vec::new();
        let running = self.servers.iter_mut().filter(|server| server.process().id().is_some());
        let running: Vec<_> = running.collect();
        for server in &running {
            errors.extend(server.process().signal(Signal::TERM).err().map(anyhow::Error::from));
        }
        for server in running {
            errors.extend(server.stopped().await.err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
