//! A lottery of real processes for one test: its own directory, addresses and UDP port.
//!
//! A test that fails shows what all processes were doing, and keeps the files. A test that ends
//! well ends with [`Lottery::end`], which stops every server and looks for alarms that the
//! test did not expect, in the logs of all processes, clients too.

mod alarms;
pub mod other_server;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alarms::Known;

use harness::bets_dir::BetsDirectory;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::cluster::{Cluster, ClusterPlan};
use harness::directory::{self, RunDirectory};
use harness::log::LogLine;
use harness::process::{self, Ended, Launch};
use harness::raw_connection::RawConnection;
use harness::volume::Volume;
use oracle::audit::{AgencyAudit, Audit, Expected};
use tokio::time::timeout;

/// The number that wins in all tests.
pub const WINNER: u16 = 7574;

/// Bets as they stand in a packet, and as rows of agency 1.
pub const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
pub const LEO: &str = "Leo;Sol;2;2000-01-02;8";
pub const EVA: &str = "Eva, \"E\";Gómez;3;2000-02-29;7574";
pub const ANA_ROW: &str = "1,Ana,Paz,1,2000-01-01,7574\n";
pub const LEO_ROW: &str = "1,Leo,Sol,2,2000-01-02,8\n";

/// The answer to a close that is done.
pub const CLOSED: &str = "AgencyCloseResponse:0";

/// The lock files, in the order in which they are taken.
pub const LOCKS: [&str; 2] = ["agencies_closed.lock", "bets.csv.lock"];

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
    alarms: Vec<Known>,
    // Last, so that it outlives the processes in it.
    pub directory: RunDirectory,
}

/// A lottery that has not started yet.
pub struct Setup {
    bets: BetsDirectory,
    pub plan: ClusterPlan,
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
        let plan = ClusterPlan {
            binary: binary(),
            servers,
            agencies,
            winner_number: WINNER,
            network: [127, rand::random_range(1..=254), rand::random()],
            directory: directory.path().to_owned(),
            volume,
            server_settings: Vec::new(),
        };
        let bets = BetsDirectory::given(&bets, agencies).unwrap();
        Self { bets, plan, directory }
    }

    /// Servers, and agencies with so many rows each, of which agency k has k winners.
    pub fn with_rows(servers: u8, agencies: u32, count: u32) -> Self {
        let setup = Self::new(servers, agencies);
        (1..=agencies).fold(setup, |setup, agency| setup.rows(agency, &rows(agency, count, agency)))
    }

    /// Gives `agency` these rows.
    pub fn rows(self, agency: u32, rows: &str) -> Self {
        fs::write(self.bets.file(agency), rows).unwrap();
        self
    }

    /// Starts the servers.
    pub async fn start(self) -> Lottery {
        let Self { bets, plan, directory } = self;
        let volume = plan.volume.clone();
        let cluster = Cluster::start(plan).await.unwrap();
        let mut lottery = Lottery { cluster, bets, volume, alarms: Vec::new(), directory };
        // Agencies have no bets unless a test gives them some.
        lottery.allow_alarms("client", &["bets_read"], ".csv has no bets: the agency closes");
        lottery
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

    /// A new connection to every instance, on which `packet` is sent.
    pub async fn send_to_all(&self, packet: &str) -> Vec<RawConnection> {
        let mut all = Vec::new();
        for place in 0..self.cluster.servers().len() {
            let mut connection = self.connect(place).await;
            connection.send(format!("{packet}\n")).await.unwrap();
            all.push(connection);
        }
        all
    }

    /// Sends `packet` on a connection of its own to the instance at `place`; gives the answer.
    pub async fn ask(&self, place: usize, packet: &str) -> String {
        self.connect(place).await.ask(packet).await.unwrap()
    }

    /// Every instance answers `packet` with `answer`.
    pub async fn assert_all_answer(&self, packet: &str, answer: &str) {
        for place in 0..self.cluster.servers().len() {
            assert_eq!(self.ask(place, packet).await, answer, "instance {place} to {packet}");
        }
    }

    /// Every instance says that `agency` has these bets.
    pub async fn assert_status(&self, agency: u32, bets: &[&str], state: &str) {
        self.assert_all_answer(&format!("AgencyStatus:{agency}"), &status(bets, state)).await;
    }

    /// Every instance says that these are the winners of the agencies, from agency 1 on.
    pub async fn assert_winners(&self, winners: &[&str]) {
        for (agency, documents) in (1..).zip(winners) {
            let answer = format!("WinnersResponse:{documents}");
            self.assert_all_answer(&format!("WinnersRequest:{agency}"), &answer).await;
        }
    }

    /// Ends the instance at `place` in order, and starts it again.
    pub async fn restart(&mut self, place: usize) {
        let server = &mut self.cluster.servers_mut()[place];
        server.stop().await.unwrap();
        server.restart().await.unwrap();
    }

    /// Ends the instance at `place` with SIGKILL, and starts it again.
    pub async fn kill_and_restart(&mut self, place: usize) {
        let server = &mut self.cluster.servers_mut()[place];
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }

    /// Runs `launch` as `name` to its end, which must have this exit code.
    pub async fn run(&self, name: &str, launch: &Launch, code: i32) -> Ended {
        let ended = run(name, launch, &self.directory).await;
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.log);
        ended
    }

    /// Runs `server archive` with these arguments, which must end with this exit code.
    pub async fn archive(&self, arguments: &[&str], code: i32) -> Ended {
        let arguments = [&["server", "archive"], arguments].concat();
        let launch = Launch::new(&binary(), &arguments)
            .with("AGENCIES_AMOUNT", self.bets.agencies())
            .with("SHARED_VOLUME", self.volume.path().display());
        self.run("archive", &launch, code).await
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
    pub async fn end_right(self, clients: &mut [ClientProcess]) {
        self.finish_clients(clients).await;
        self.assert_right();
        self.end().await;
    }

    /// The lottery is done and all of it is right, by an independent count, which is returned.
    pub fn assert_right(&self) -> Vec<AgencyAudit> {
        let (bets, volume) = (&self.bets, &self.volume);
        let audit = Audit::of_draw(&Expected { bets, volume, winner_number: WINNER }).unwrap();
        assert!(audit.problems.is_empty(), "{}", audit.problem_lines());
        audit.agencies
    }

    /// What `bets.csv` holds; nothing if it is not there.
    pub fn stored(&self) -> String {
        fs::read_to_string(self.volume.bets()).unwrap_or_default()
    }

    /// Takes a lock of the volume, and keeps others from it until it is dropped.
    pub fn locked(&self, name: &str) -> File {
        other_server::locked(self.volume.path(), name)
    }

    /// Takes both locks, so that no instance is in the middle of anything.
    pub fn lock_all(&self) -> [File; 2] {
        LOCKS.map(|name| self.locked(name))
    }

    /// A process whose name starts with `who` must log an alarm of each of these actions, with this
    /// reason.
    pub fn expect_alarms(&mut self, who: &str, actions: &[&str], reason: &str) {
        self.alarms.extend(actions.iter().map(|action| Known::new(who, action, reason, true)));
    }

    /// As [`Lottery::expect_alarms`], for what need not come: it depends on what came first.
    pub fn allow_alarms(&mut self, who: &str, actions: &[&str], reason: &str) {
        self.alarms.extend(actions.iter().map(|action| Known::new(who, action, reason, false)));
    }

    /// Stops every server that runs; each must end with exit code 0. No process may have logged
    /// anything alarming that was not expected, and what was expected must be there. Gives the
    /// directory, which goes when it is dropped.
    pub async fn end(mut self) -> RunDirectory {
        if let Err(errors) = self.cluster.stop().await {
            panic!("{}", errors.iter().map(|error| format!("{error:#}\n")).collect::<String>());
        }
        alarms::compare(&self.alarms, self.directory.path());
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

/// The answer to `AgencyStatus`.
pub fn status(bets: &[&str], state: &str) -> String {
    format!("AgencyStatusResponse:{};{};{state}", bets.len(), digest(bets))
}

/// The packet that stores these bets from row `first` on.
pub fn store_rows(agency: u32, first: usize, bets: &[impl AsRef<str>]) -> String {
    let bets: Vec<&str> = bets.iter().map(AsRef::as_ref).collect();
    format!("StoreRows:{agency};{first}:{}", bets.join(":"))
}

/// The answer to `StoreRows` when these are all bets of the agency: status 0, or 2 or 1 and
/// the start of a reason.
pub fn rows_response(outcome: u8, bets: &[&str], reason: &str) -> String {
    let state = format!("{};{}", bets.len(), digest(bets));
    match outcome {
        0 => format!("StoreRowsResponse:0;{state}"),
        _ => format!("StoreRowsResponse:{outcome};{state};{reason}"),
    }
}

/// The answer that these are all bets of the agency, and stored.
pub fn stored(bets: &[&str]) -> String {
    rows_response(0, bets, "")
}

/// Asserts that `answer` starts with `start`.
pub fn assert_starts(answer: &str, start: &str) {
    assert!(answer.starts_with(start), "{answer:?} does not start with {start:?}");
}

/// Asserts that `text` has each of `parts` in it.
pub fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// The lines of these actions, without their times and levels.
pub fn lines<'l>(log: &'l str, actions: &[&str]) -> Vec<&'l str> {
    let text = |line: &'l str| &line[line.find("action: ").unwrap_or(0)..];
    let is_wanted = |line: &&str| actions.contains(&LogLine(line).field("action").unwrap_or(""));
    log.lines().filter(is_wanted).map(text).collect()
}

/// Asks an instance at `address` for its health.
pub fn health(address: SocketAddr) -> Launch {
    Launch::new(&binary(), &["server", "health"])
        .with("SERVER_IP", address.ip())
        .with("SERVER_PORT", address.port())
}

/// Waits until `client` has logged such a line; says whether it did before its end.
pub async fn logs(client: &ClientProcess, action: &str, result: &str) -> bool {
    let logged = client.log().wait_for(|line| line.is(action, result));
    timeout(LIMIT, logged).await.expect("a line is logged in time").is_some()
}

/// Runs `launch` as `name` in `directory` to its end.
pub async fn run(name: &str, launch: &Launch, directory: &RunDirectory) -> Ended {
    process::run(name, launch, directory.path(), LIMIT).await.unwrap()
}
