//! The client's process against servers of the reference system, alone and beside ours.
//!
//! The servers are the imitation that the client's own tests use, over the files and locks of a
//! volume. Two things of the reference's servers are absent: the datagram, because each server
//! looks at the closes instead, and that a server answers with the winners of its first day until
//! it ends. What the client does with each of their answers is shown in `client/tests/servers`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::client_process::ClientProcess;
use harness::directory::RunDirectory;
use harness::process::Launch;
use tokio::sync::watch;

use crate::common::other_server::OtherServer;
use crate::common::{LIMIT, Lottery, Setup, WINNER, binary, logs, rows};
use crate::reference::{self, Fields, ReferenceStore};

/// Addresses before and behind those of every server of ours, in the order in which clients
/// number the servers.
const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 0, 1));

/// How often the closes are looked at.
const CLOSES_PAUSE: Duration = Duration::from_millis(20);

/// The bets and closes of a lottery in the files of its volume.
#[derive(Clone)]
struct Volume {
    files: OtherServer,
    agencies: usize,
    packets: Arc<Mutex<Vec<String>>>,
    /// Bets are stored while this is true.
    is_open: watch::Receiver<bool>,
}

impl Volume {
    fn at(path: &Path, agencies: usize, is_open: watch::Receiver<bool>) -> Self {
        Self { files: OtherServer::on(path), agencies, packets: Arc::default(), is_open }
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
        self.files.store(rows.collect::<String>());
    }

    fn close(&self, agency: u32) {
        self.files.close(&format!("{agency}\n"));
    }

    async fn winners(&self, agency: u32) -> String {
        while self.files.closes().len() < self.agencies {
            tokio::time::sleep(CLOSES_PAUSE).await;
        }
        let rows = self.files.bets();
        let fields = rows.iter().map(|row| row.split(',').collect::<Vec<_>>());
        let (agency, number) = (agency.to_string(), WINNER.to_string());
        let won = fields.filter(|fields| fields[0] == agency && fields[5] == number);
        won.map(|fields| fields[3].to_owned()).collect::<Vec<_>>().join(";")
    }
}

fn setting(servers: &[SocketAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A client is killed in the middle, and runs again to its end. Every bet is stored at least once:
/// legacy servers cannot say what is stored.
#[tokio::test]
async fn killed_and_started_again_it_stores_every_bet_at_least_once() {
    const BATCH: usize = 10;
    let directory = RunDirectory::temporary().unwrap();
    let (gate, is_open) = watch::channel(true);
    let volume = Volume::at(&directory.path().join("volume"), 1, is_open);
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(reference::serve(BEFORE, volume.clone(), Vec::new()).await);
    }
    let rows = rows(1, 20_000, 1);
    std::fs::write(directory.path().join("agency-1.csv"), &rows).unwrap();
    let client = |batch: usize| {
        let launch = Launch::new(&binary(), &["client"])
            .with("CLI_ID", 1)
            .with("CLI_BETS_DIR", ".")
            .with("CLI_BATCH_SIZE", batch)
            .with("CLI_SERVER_ADDRESS", setting(&servers));
        ClientProcess::spawn("client", 1, launch, directory.path()).unwrap()
    };
    let mut killed = client(BATCH);
    assert!(logs(&killed, "apuestas_enviadas", "success").await);
    // From now on the servers store nothing, until the client is dead.
    gate.send_replace(false);
    killed.kill().await.unwrap();
    let first = volume.files.bets().len();
    gate.send_replace(true);
    let wanted: Vec<String> = rows.lines().map(|row| format!("1,{row}")).collect();
    assert!((BATCH..wanted.len()).contains(&first), "it was killed in the middle: {first}");
    // So few packets that the second run takes no longer than the first.
    let end = client(1_000).wait(LIMIT).await.unwrap();
    assert_eq!((end.code(), end.printed.len()), (Some(0), 2));
    let stored = volume.files.bets();
    // The packet that was in flight when it was killed may have been stored since.
    let again = stored.len() - wanted.len();
    assert!((first..=first + BATCH).contains(&again), "{first} and then {again}");
    assert_eq!((&stored[..again], &stored[again..]), (&wanted[..again], &wanted[..]));
    assert_eq!((volume.files.closes(), volume.count("StoreRows")), (vec!["1".to_owned()], 0));
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
            lottery.allow_alarms("client", &[action], reason);
        }
        let volume = Volume::at(lottery.volume.path(), 3, is_open);
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
    mixed.lottery.finish_clients(&mut clients).await;
    assert_eq!(mixed.volume.count("StoreBatch"), 0);
    mixed.lottery.end_right(&mut []).await;
}

#[tokio::test]
async fn a_server_of_ours_that_comes_back_takes_the_rest_and_no_bet_is_doubled() {
    let (gate, is_open) = watch::channel(false);
    let mut mixed = Mixed::start(is_open).await;
    mixed.lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let mut clients = mixed.spawn_all();
    for client in &clients {
        assert!(logs(client, "fallback", "success").await);
    }
    mixed.lottery.cluster.servers_mut()[0].restart().await.unwrap();
    gate.send_replace(true);
    mixed.lottery.finish_clients(&mut clients).await;
    assert!(mixed.volume.count("StoreBatch") > 0);
    for client in &clients {
        let is_over = client.log().matching(|line| line.is("fallback", "ended"));
        assert_eq!(is_over, 1, "agency {}", client.agency());
    }
    mixed.lottery.end_right(&mut []).await;
}
