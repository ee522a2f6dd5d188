//! Connections on port 0.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use server::chat::Chat;
use server::lottery::Lottery;
use server::metrics::Metrics;
use server::net::{self, Shared};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::scripted::{AGENCIES, BET, Script, Scripted};

struct Instance {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    script: Script,
}

impl Instance {
    fn start(connections_max: usize) -> Self {
        let (store, script) = Scripted::new();
        let listener = net::listen(net::bind(Ipv4Addr::LOCALHOST, 0).unwrap(), 16).unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, shutdown) = (Arc::new(Metrics::default()), CancellationToken::new());
        let lottery = Lottery::new(store.clone(), AGENCIES);
        let shared =
            Shared::new(lottery, Chat::new(store, "here"), Arc::clone(&metrics), shutdown.clone());
        let serving = net::run(listener, shared, connections_max);
        let running = tokio::spawn(serving);
        Self { address, metrics, shutdown, running, script }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }
}

#[tokio::test]
async fn packets_are_answered_in_order_however_they_are_cut() {
    let instance = Instance::start(10);
    instance.script.allowed.add_permits(100);
    let packets = format!("StoreBet:1;{BET}\nhello\nAgencyStatus:1\nStoreRows:1;4:{BET}:{BET}\n");
    let answers = [
        "StoreResponse:0",
        "Error:unknown packet",
        "AgencyStatusResponse:0;0000000000000000;open",
        "StoreRowsResponse:0;5;0000000000000000",
    ];
    for piece in [packets.len(), 1, 7] {
        let mut connection = instance.connect().await;
        connection.0.get_ref().set_nodelay(true).unwrap();
        for bytes in packets.as_bytes().chunks(piece) {
            connection.send(bytes).await;
        }
        for answer in answers {
            assert_eq!(connection.line().await, answer);
        }
    }
}

#[tokio::test]
async fn what_the_server_could_not_do_is_told_as_each_packet_can() {
    let instance = Instance::start(10);
    instance.script.allowed.add_permits(100);
    let mut connection = instance.connect().await;
    for (packet, answer) in [
        (format!("StoreBatch:2;{BET}"), "StoreResponse:1"),
        (format!("StoreRows:2;1:{BET}"), "StoreRowsResponse:1;1;0000000000000000;the disk is full"),
        ("AgencyStatus:2".into(), "Error:busy the disk is full"),
        ("AgencyClose:2;1".into(), "AgencyCloseResponse:1;the disk is full"),
        ("AgencyClose:1;9".into(), "AgencyCloseResponse:2;short 1 rows are stored, not 9"),
        ("AgencyClose:3".into(), "Error:agency agency 3 is not one of 1 to 2"),
        ("AgencyClose:1\nAgencyClose:2".into(), ""),
    ] {
        connection.send(format!("{packet}\n")).await;
        assert_eq!(connection.line().await, answer, "{packet}");
    }
}

#[tokio::test]
async fn a_line_without_its_end_is_no_packet() {
    let instance = Instance::start(10);
    instance.script.allowed.add_permits(1);
    let mut connection = instance.connect().await;
    connection.send(format!("AgencyStatus:1\nStoreBet:1;{BET}")).await;
    connection.finish().await;
    assert_eq!(connection.line().await, "AgencyStatusResponse:0;0000000000000000;open");
    assert_eq!(connection.line().await, "");
    assert_eq!(instance.script.allowed.available_permits(), 1, "nothing was stored");
}

#[tokio::test]
async fn a_client_that_resets_its_connection_while_it_waits_for_winners_is_noticed() {
    let instance = Instance::start(10);
    let mut waiting = instance.connect().await;
    waiting.send(b"AgencyStatus:1\nWinnersRequest:1\n").await;
    waiting.line().await;
    // It has said all, and still listens.
    waiting.finish().await;
    let early = timeout(Duration::from_millis(50), waiting.line()).await;
    assert!(early.is_err(), "it waits: {early:?}");
    assert_eq!(instance.metrics.connections_open.get(), 1);
    socket2::SockRef::from(waiting.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(waiting);
    while instance.metrics.connections_open.get() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn no_more_connections_than_the_limit_are_served_at_once() {
    let instance = Instance::start(1);
    let mut first = instance.connect().await;
    first.send(b"AgencyStatus:1\n").await;
    first.line().await;
    let mut second = instance.connect().await;
    second.send(b"hello\n").await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(50), second.0.read(&mut byte)).await;
    assert!(early.is_err(), "the first one is served still");
    drop(first);
    assert_eq!(second.line().await, "Error:unknown packet");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_answered_at_the_end() {
    let instance = Instance::start(10);
    let mut storing = instance.connect().await;
    storing.send(format!("AgencyStatus:1\nStoreBet:1;{BET}\n")).await;
    storing.line().await;
    instance.shutdown.cancel();
    instance.script.allowed.add_permits(1);
    assert_eq!(storing.line().await, "StoreResponse:0");
    assert_eq!(storing.line().await, "");
    instance.running.await.unwrap();
    assert!(TcpStream::connect(instance.address).await.is_err(), "no more are accepted");
}
