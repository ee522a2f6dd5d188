//! The client's process against servers of the reference system, alone and beside ours.
//!
//! The servers are the imitation that the client's own tests use. Here they store bets and closes in
//! the files of a volume, and take the locks of these files, as the reference's servers do. Two
//! things of the reference's servers are absent: the datagram, because each server looks at the
//! closes instead, and that a server answers with the winners of its first day until it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;
#[path = "../../../client/tests/servers/reference.rs"]
mod reference;
#[path = "../../../client/tests/servers/scripted.rs"]
#[allow(dead_code, reason = "the client's own tests use all of it")]
mod scripted;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{LIMIT, Lottery, Setup, WINNER, binary, rows};
use fs2::FileExt as _;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::Launch;
use reference::{Fields, ReferenceStore};
use scripted::{Failure, Script};
use tokio::sync::watch;

/// Addresses before and behind those of every server of ours, in the order in which clients
/// number the servers.
const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 0, 1));

/// The lock files of the bets and of the closes.
const BETS_LOCK: &str = "bets.csv.lock";
const CLOSES_LOCK: &str = "agencies_closed.lock";

/// How often the closes are looked at.
const CLOSES_PAUSE: Duration = Duration::from_millis(20);

/// The bets and closes of a lottery in the files of its volume.
#[derive(Clone)]
struct Volume {
    path: PathBuf,
    agencies: usize,
    packets: Arc<Mutex<Vec<String>>>,
    /// Bets are stored while this is true.
    is_open: watch::Receiver<bool>,
}

impl Volume {
    fn at(path: &Path, agencies: usize) -> Self {
        Self::with_gate(path, agencies, watch::channel(true).1)
    }

    fn with_gate(path: &Path, agencies: usize, is_open: watch::Receiver<bool>) -> Self {
        fs::create_dir_all(path.join("locks")).unwrap();
        Self { path: path.to_owned(), agencies, packets: Arc::default(), is_open }
    }

    fn lock(&self, name: &str) -> File {
        File::create(self.path.join("locks").join(name)).unwrap()
    }

    fn append(&self, name: &str, lock: &str, text: &str) {
        let lock = self.lock(lock);
        lock.lock_exclusive().unwrap();
        let file = OpenOptions::new().append(true).create(true).open(self.path.join(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn lines(&self, name: &str, lock: &str) -> Vec<String> {
        let lock = self.lock(lock);
        lock.lock_shared().unwrap();
        let text = fs::read_to_string(self.path.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn bets(&self) -> Vec<String> {
        self.lines("bets.csv", BETS_LOCK)
    }

    fn closes(&self) -> Vec<String> {
        self.lines("agencies_closed.txt", CLOSES_LOCK)
    }

    fn count(&self, packet_type: &str) -> usize {
        let packets = self.packets.lock().unwrap();
        packets.iter().filter(|packet| packet.split(':').next() == Some(packet_type)).count()
    }
}

impl ReferenceStore for Volume {
    fn received(&self, packet: &str) {
        self.packets.lock().unwrap().push(packet.to_owned());
    }

    async fn store(&self, agency: u32, bets: &[Fields<'_>]) {
        self.is_open.clone().wait_for(|is_open| *is_open).await.unwrap();
        let rows = bets.iter().map(|bet| format!("{agency},{}\r\n", bet.join(",")));
        let rows: String = rows.collect();
        self.append("bets.csv", BETS_LOCK, &rows);
    }

    fn close(&self, agency: u32) {
        self.append("agencies_closed.txt", CLOSES_LOCK, &format!("{agency}\n"));
    }

    async fn winners(&self, agency: u32) -> String {
        while self.closes().len() < self.agencies {
            tokio::time::sleep(CLOSES_PAUSE).await;
        }
        let rows = self.bets();
        let fields = rows.iter().map(|row| row.split(',').collect::<Vec<_>>());
        let (agency, number) = (agency.to_string(), WINNER.to_string());
        let won = fields.filter(|fields| fields[0] == agency && fields[5] == number);
        won.map(|fields| fields[3].to_owned()).collect::<Vec<_>>().join(";")
    }
}

/// One agency, and two servers of the reference system.
struct Alone {
    volume: Volume,
    servers: Vec<SocketAddr>,
    agency: u32,
    directory: RunDirectory,
}

impl Alone {
    async fn start(agency: u32, script: Script) -> Self {
        let directory = RunDirectory::temporary().unwrap();
        let volume = Volume::at(&directory.path().join("volume"), 1);
        let mut servers = Vec::new();
        for _ in 0..2 {
            servers.push(reference::serve(BEFORE, volume.clone(), script.clone()).await);
        }
        Self { volume, servers, agency, directory }
    }

    fn file(&self, rows: &str) {
        let name = format!("agency-{}.csv", self.agency);
        fs::write(self.directory.path().join(name), rows).unwrap();
    }

    fn client(&self) -> Launch {
        Launch::new(&binary(), &["client"])
            .with("CLI_ID", self.agency)
            .with("CLI_BETS_DIR", ".")
            .with("CLI_BATCH_SIZE", 10)
            .with("CLI_SERVER_ADDRESS", setting(&self.servers))
    }

    fn spawn(&self, launch: Launch) -> ClientProcess {
        ClientProcess::spawn("client", self.agency, launch, self.directory.path()).unwrap()
    }

    async fn run(&self, launch: Launch) -> ClientEnd {
        self.spawn(launch).wait(LIMIT).await.unwrap()
    }

    /// The rows of a file as the volume has them.
    fn stored_form(&self, rows: &str) -> Vec<String> {
        rows.lines().map(|row| format!("{},{row}", self.agency)).collect()
    }
}

fn setting(servers: &[SocketAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_file_is_stored_once_and_its_winners_are_told() {
    let lottery = Alone::start(7, Vec::new()).await;
    let rows = rows(7, 95, 3);
    lottery.file(&rows);
    let end = lottery.run(lottery.client()).await;
    assert_eq!(end.code(), Some(0));
    assert_eq!(end.printed, ["7000000", "7000001", "7000002"]);
    assert_eq!(lottery.volume.bets(), lottery.stored_form(&rows));
    assert_eq!(lottery.volume.closes(), ["7"]);
    assert_eq!((lottery.volume.count("StoreBatch"), lottery.volume.count("StoreRows")), (10, 0));
}

#[tokio::test]
async fn one_bet_of_the_environment_is_stored() {
    let lottery = Alone::start(1, Vec::new()).await;
    let launch = lottery
        .client()
        .with("NOMBRE", "Santiago Lionel")
        .with("APELLIDO", "Lorca")
        .with("DOCUMENTO", "30904465")
        .with("NACIMIENTO", "1999-03-17")
        .with("NUMERO", WINNER);
    let end = lottery.run(launch).await;
    assert_eq!((end.code(), end.printed), (Some(0), vec!["30904465".to_owned()]));
    let stored = lottery.volume.bets();
    assert_eq!(stored, ["1,Santiago Lionel,Lorca,30904465,1999-03-17,7574"]);
}

#[tokio::test]
async fn killed_and_started_again_it_stores_every_bet_at_least_once() {
    let lottery = Alone::start(1, Vec::new()).await;
    let rows = rows(1, 20_000, 1);
    lottery.file(&rows);
    let mut client = lottery.spawn(lottery.client());
    let is_sent = |line: LogLine<'_>| line.is("apuestas_enviadas", "success");
    tokio::time::timeout(LIMIT, client.log().wait_for(is_sent)).await.unwrap().unwrap();
    client.kill().await.unwrap();
    let first = lottery.volume.bets().len();
    let wanted = lottery.stored_form(&rows);
    assert!((10..wanted.len()).contains(&first), "it was killed in the middle: {first}");
    // So few packets that the second run takes no longer than the first.
    let end = lottery.run(lottery.client().with("CLI_BATCH_SIZE", 1_000)).await;
    assert_eq!((end.code(), end.printed.len()), (Some(0), 2));
    let stored = lottery.volume.bets();
    // What was in flight when it was killed may have been stored since.
    let again = stored.len() - wanted.len();
    assert!((first..=first + 10).contains(&again), "{first} and then {again}");
    assert_eq!((&stored[..again], &stored[again..]), (&wanted[..again], &wanted[..]));
}

#[tokio::test]
async fn the_longest_names_fit_the_shortest_packet() {
    const BYTES: usize = 293;
    let lottery = Alone::start(100_000, Vec::new()).await;
    let name = "ñ".repeat(50);
    let row = format!("{name},{name},ABCDEFGHIJ1234567890,1999-12-31,{WINNER}\n");
    lottery.file(&row.repeat(3));
    let end = lottery.run(lottery.client().with("CLI_MAX_PACKET_BYTES", BYTES)).await;
    assert_eq!((end.code(), end.printed.len()), (Some(0), 3));
    assert_eq!(lottery.volume.bets(), lottery.stored_form(&row.repeat(3)));
    assert_eq!(lottery.volume.count("StoreBatch"), 3);
    let packets = lottery.volume.packets.lock().unwrap();
    assert!(packets.iter().all(|packet| packet.len() < BYTES));
}

#[tokio::test]
async fn an_answer_1_that_lasts_is_told_with_what_else_may_be_wrong() {
    let script = vec![("StoreBatch", Failure::Say("StoreResponse:1")); 1_000];
    let lottery = Alone::start(1, script).await;
    lottery.file(&rows(1, 10, 1));
    let mut client = lottery.spawn(lottery.client().with("CLI_GIVE_UP_AFTER", 2));
    assert_eq!(client.wait(LIMIT).await.unwrap().code(), Some(1));
    let is_end = |line: LogLine<'_>| line.level() == "CRITICAL" && line.is("client", "fail");
    let end = client.log().wait_for(is_end).await.expect("it tells why");
    assert!(end.contains("the server refuses something") && end.contains("CLI_ID"), "{end}");
    // The advice is in the last line only, and not in each WARNING before it.
    let warned = client.log().matching(|line| line.is("answer", "fail"));
    let advised = client.log().matching(|line| line.0.contains("the server refuses"));
    assert!(warned > 1 && advised == 1, "{warned} and {advised}");
    assert_eq!(lottery.volume.bets(), [""; 0]);
}

/// A server of ours between two of the reference system, on one volume.
struct Mixed {
    lottery: Lottery,
    volume: Volume,
    servers: Vec<SocketAddr>,
}

impl Mixed {
    /// Three agencies, each of which asks another of the servers first.
    async fn start(is_open: watch::Receiver<bool>) -> Self {
        let mut setup = Setup::new(1, 3);
        for agency in 1..=3 {
            setup = setup.rows(agency, &rows(agency, 500, agency));
        }
        let mut lottery = setup.start().await;
        for (action, reason) in [
            ("connection", "the connection was closed without an answer"),
            ("connect", "Connection refused"),
            ("fallback", "this server knows no AgencyStatus"),
        ] {
            lottery.allow_alarm("client", action, reason);
        }
        let volume = Volume::with_gate(lottery.volume.path(), 3, is_open);
        let mut servers = vec![lottery.cluster.servers()[0].address()];
        for ip in [BEFORE, BEHIND] {
            servers.push(reference::serve(ip, volume.clone(), Vec::new()).await);
        }
        Self { lottery, volume, servers }
    }

    fn spawn(&self, agency: u32) -> ClientProcess {
        let launch = self
            .lottery
            .client(agency)
            .with("CLI_BATCH_SIZE", 10)
            .with("CLI_FALLBACK", "yes")
            // An answer that is given up is a bet that may be stored twice.
            .with("CLI_ANSWER_TIMEOUT", 60)
            .with("CLI_SERVER_ADDRESS", setting(&self.servers));
        self.lottery.cluster.spawn_client(agency, launch).unwrap()
    }

    fn spawn_all(&self) -> Vec<ClientProcess> {
        (1..=3).map(|agency| self.spawn(agency)).collect()
    }
}

#[tokio::test]
async fn beside_a_server_of_ours_every_bet_is_stored_once() {
    let mixed = Mixed::start(watch::channel(true).1).await;
    let mut clients = mixed.spawn_all();
    mixed.lottery.finish_clients(&mut clients).await;
    // A second run stores nothing.
    let mut clients = mixed.spawn_all();
    assert_eq!(mixed.volume.count("StoreBatch"), 0);
    mixed.lottery.end_right(&mut clients).await;
}

#[tokio::test]
async fn a_server_of_ours_that_comes_back_takes_the_rest_and_no_bet_is_doubled() {
    let (gate, is_open) = watch::channel(false);
    let mut mixed = Mixed::start(is_open).await;
    mixed.lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let mut clients = mixed.spawn_all();
    let is_fallback = |line: LogLine<'_>| line.is("fallback", "success");
    for client in &clients {
        tokio::time::timeout(LIMIT, client.log().wait_for(is_fallback)).await.unwrap().unwrap();
    }
    mixed.lottery.cluster.servers_mut()[0].restart().await.unwrap();
    gate.send_replace(true);
    mixed.lottery.finish_clients(&mut clients).await;
    assert!(mixed.volume.count("StoreBatch") > 0);
    let is_over = |line: LogLine<'_>| line.is("fallback", "ended");
    for client in &clients {
        assert_eq!(client.log().matching(is_over), 1, "agency {}", client.agency());
    }
    mixed.lottery.assert_right();
    mixed.lottery.end().await;
}
