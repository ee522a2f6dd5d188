//! A lottery of real processes for one test: its own directory, addresses and UDP port.
//!
//! A test that fails shows what all processes were doing, and keeps the files. A test that ends
//! well ends with [`Lottery::end`], which stops every server and looks for lines that nobody
//! expected in the logs of all processes, clients too.

#![allow(dead_code, reason = "each test program uses a part of it")]

mod alarms;

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use alarms::KnownAlarms;

use fs2::FileExt as _;
use harness::bets_dir::BetsDirectory;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::cluster::{Cluster, Plan};
use harness::directory::{self, RunDirectory};
pub use harness::process::Ended;
use harness::process::{self, Launch};
use harness::raw_connection::RawConnection;
use harness::udp_port::UdpPort;
use harness::volume::Volume;
use oracle::audit::{Audit, Expected};

/// The number that wins in all tests.
pub const WINNER: u16 = 7574;

/// How long anything may take. Generous: tests run side by side on slow machines.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_system"))
}

/// Servers over one volume, and the files of their agencies.
pub struct Lottery {
    pub cluster: Cluster,
    pub bets: BetsDirectory,
    pub volume: Volume,
    alarms: KnownAlarms,
    // Last, so that it outlives the processes in it.
    pub directory: RunDirectory,
}

/// A lottery that has not started yet.
pub struct Setup {
    pub bets: BetsDirectory,
    pub volume: Volume,
    pub plan: Plan,
    directory: RunDirectory,
}

impl Setup {
    /// Servers and agencies, each of which has an empty file.
    pub fn new(servers: u8, agencies: u32) -> Self {
        let directory = RunDirectory::temporary().unwrap();
        let volume = Volume::new(&directory::make(&directory.path().join("volume")).unwrap());
        let bets = directory::make(&directory.path().join("bets")).unwrap();
        for agency in 1..=agencies {
            fs::write(bets.join(format!("agency-{agency}.csv")), "").unwrap();
        }
        let plan = Plan {
            binary: binary(),
            servers,
            agencies,
            winner_number: WINNER,
            network: [127, rand::random_range(1..=254), rand::random()],
            directory: directory.path().to_owned(),
            volume: volume.clone(),
            server_settings: Vec::new(),
        };
        let bets = BetsDirectory::given(&bets, agencies).unwrap();
        Self { bets, volume, plan, directory }
    }

    /// Gives `agency` these rows.
    pub fn rows(self, agency: u32, rows: &str) -> Self {
        fs::write(self.bets.file(agency), rows).unwrap();
        self
    }

    /// Starts the servers.
    pub async fn start(self) -> Lottery {
        let Self { bets, volume, plan, directory } = self;
        let cluster = Cluster::start(plan).await.unwrap();
        let mut alarms = KnownAlarms::default();
        // Agencies have no bets, but for those to which a test gives some.
        alarms.add("client", "bets_read", ".csv has no bets: the agency closes", false);
        Lottery { cluster, bets, volume, alarms, directory }
    }
}

impl Lottery {
    /// A started lottery whose agencies have empty files.
    pub async fn start(servers: u8, agencies: u32) -> Self {
        Setup::new(servers, agencies).start().await
    }

    /// A new connection to the instance at `place`, counted from 0.
    pub async fn connect(&self, place: usize) -> RawConnection {
        RawConnection::open(self.cluster.servers()[place].address()).await.unwrap()
    }

    /// A new connection to every instance.
    pub async fn connect_all(&self) -> Vec<RawConnection> {
        let mut all = Vec::new();
        for place in 0..self.cluster.servers().len() {
            all.push(self.connect(place).await);
        }
        all
    }

    /// Sends `packet` on a connection of its own to the instance at `place`; gives the answer.
    pub async fn ask(&self, place: usize, packet: &str) -> String {
        self.connect(place).await.ask(packet).await.unwrap()
    }

    /// The settings of the client of `agency`.
    pub fn client(&self, agency: u32) -> Launch {
        self.cluster.client_launch(agency, self.bets.path())
    }

    /// Starts the client of `agency` with 100 bets a packet.
    pub fn spawn(&self, agency: u32) -> ClientProcess {
        self.cluster.spawn_client(agency, self.client(agency)).unwrap()
    }

    /// Runs the clients of all agencies side by side to their ends.
    pub async fn run_clients(&self) -> Vec<ClientEnd> {
        let spawn = |agency| self.spawn(agency);
        let mut clients: Vec<_> = (1..=self.bets.agencies()).map(spawn).collect();
        self.finish_clients(&mut clients).await
    }

    /// Waits for these clients, each of which must end well with the right winners.
    pub async fn finish_clients(&self, clients: &mut [ClientProcess]) -> Vec<ClientEnd> {
        let mut ends = Vec::new();
        for client in clients {
            let end = client.wait(LIMIT).await.unwrap();
            assert_eq!(end.code(), Some(0), "agency {}", client.agency());
            assert_eq!(end.filed.as_ref(), Some(&end.printed), "agency {}", client.agency());
            ends.push(end);
        }
        ends
    }

    /// Waits for these clients as [`Lottery::finish_clients`] does, and ends: all of it is right.
    pub async fn end_right(self, clients: &mut [ClientProcess]) -> RunDirectory {
        self.finish_clients(clients).await;
        self.assert_right();
        self.end().await
    }

    /// What the independent count has to compare.
    pub fn expected(&self) -> Expected<'_> {
        Expected { bets: &self.bets, volume: &self.volume, winner_number: WINNER }
    }

    /// The lottery is done and all of it is right, by an independent count.
    pub fn assert_right(&self) -> Audit {
        let audit = Audit::of_draw(&self.expected()).unwrap();
        assert!(audit.problems.is_empty(), "{}", audit.problem_lines());
        audit
    }

    /// The winners of all agencies, by the independent count.
    pub fn winners(&self) -> Vec<Vec<String>> {
        Audit::of_rows(&self.expected()).unwrap().agencies.into_iter().map(|a| a.winners).collect()
    }

    /// What `bets.csv` holds; nothing if it is not there.
    pub fn stored(&self) -> String {
        fs::read_to_string(self.volume.bets()).unwrap_or_default()
    }

    /// Takes a lock of the volume, and keeps others from it until it is dropped.
    pub fn locked(&self, name: &str) -> File {
        // As the reference server opens it: truncated.
        let file = File::create(self.volume.path().join("locks").join(name)).unwrap();
        file.lock_exclusive().unwrap();
        file
    }

    /// Pauses the instance at `place`, which holds no lock then.
    pub fn pause(&self, place: usize) {
        let _locks = ["agencies_closed.lock", "bets.csv.lock"].map(|name| self.locked(name));
        self.cluster.servers()[place].pause().unwrap();
    }

    /// Starts every instance again with a UDP port of its own, on which it hears only itself, and
    /// gives the ports: others are kept from them until they are dropped.
    pub async fn keep_datagrams_apart(&mut self) -> Vec<UdpPort> {
        let mut ports = Vec::new();
        for server in self.cluster.servers_mut() {
            let port = UdpPort::take().unwrap();
            server.stop().await.unwrap();
            server.set("UDP_BROADCAST_PORT", port.number().unwrap());
            server.restart().await.unwrap();
            ports.push(port);
        }
        ports
    }

    /// A process whose name starts with `who` must log an alarm of this action, with this reason.
    pub fn expect_alarm(&mut self, who: &str, action: &str, reason: &str) {
        self.alarms.add(who, action, reason, true);
    }

    /// As [`Lottery::expect_alarm`], for what need not come: it depends on what came first.
    pub fn allow_alarm(&mut self, who: &str, action: &str, reason: &str) {
        self.alarms.add(who, action, reason, false);
    }

    /// Stops every server that runs; each must end with exit code 0. No process may have logged
    /// anything alarming that was not expected, and what was expected must be there. Gives the
    /// directory, which goes when it is dropped.
    pub async fn end(mut self) -> RunDirectory {
        if let Err(errors) = self.cluster.stop().await {
            panic!("{}", errors.iter().map(|error| format!("{error:#}\n")).collect::<String>());
        }
        self.alarms.compare(self.directory.path());
        self.directory
    }
}

/// `count` rows with accents, the first of which are `winners` winners.
pub fn rows(agency: u32, count: u32, winners: u32) -> String {
    let row = |place: u32| {
        let number = if place < winners { u32::from(WINNER) } else { place * 7 % 7_000 };
        let document = agency * 1_000_000 + place;
        format!("María {place},Núñez,{document},19{:02}-03-17,{number}\n", place % 100)
    };
    (0..count).map(row).collect()
}

/// The digest of `rows` as they stand on the wire, made without the protocol's code.
pub fn digest(rows: &[&str]) -> String {
    let fold = |seed, row: &&str| xxhash_rust::xxh3::xxh3_64_with_seed(row.as_bytes(), seed);
    format!("{:016x}", rows.iter().fold(0, fold))
}

/// Whether the server closes the connection after the answer to `packet`: a `StoreBatch` in the
/// reference's form, whose first separator is a `:`.
pub fn ends_connection(packet: &str) -> bool {
    let body = packet.strip_prefix("StoreBatch:").unwrap_or_default();
    body.find([';', ':']).is_some_and(|at| body[at..].starts_with(':'))
}

/// Runs `launch` as `name` in `directory` to its end.
pub async fn run(name: &str, launch: &Launch, directory: &RunDirectory) -> Ended {
    process::run(name, launch, directory.path(), LIMIT).await.unwrap()
}
