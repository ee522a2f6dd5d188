//! Processes that are killed, paused and restarted in the middle; every row is stored once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use common::{LIMIT, Lottery, Setup, rows};
use harness::client_process::ClientProcess;
use harness::log::LogLine;
use tokio::time::{Instant, timeout_at};

/// Rows and batch size that make hundreds of packets: the middle is long.
const ROWS: u32 = 6_000;
const BATCH: u32 = 10;

/// How often a scenario is played until its kill came before the end.
const ATTEMPTS: u32 = 10;

fn is_batch(line: LogLine<'_>) -> bool {
    line.is("apuestas_almacenadas", "success")
}

fn is_close(line: LogLine<'_>) -> bool {
    line.is("agencia_cerrada", "success")
}

/// A lottery of `agencies`, the first of which is in the middle of many small packets.
async fn in_the_middle(servers: u8, agencies: u32) -> (Lottery, Vec<ClientProcess>) {
    let mut setup = Setup::new(servers, agencies);
    for agency in 1..=agencies {
        setup = setup.rows(agency, &rows(agency, ROWS, agency));
    }
    let mut lottery = setup.start().await;
    // A killed instance may leave what is cut off later.
    lottery.allow_alarm("server", "mend_log", "a group whose writer died");
    let clients = (1..=agencies).map(|agency| small(&lottery, agency)).collect();
    (lottery, clients)
}

fn small(lottery: &Lottery, agency: u32) -> ClientProcess {
    let launch = lottery.client(agency).with("CLI_BATCH_SIZE", BATCH);
    lottery.cluster.spawn_client(agency, launch).unwrap()
}

/// Waits until some batches of this client are stored; says whether it was so before its end.
async fn wait_for_batches(client: &ClientProcess) -> bool {
    let seen = std::cell::Cell::new(0);
    let enough = |line: LogLine<'_>| {
        seen.set(seen.get() + u32::from(line.is("apuestas_enviadas", "success")));
        seen.get() >= 5
    };
    tokio::time::timeout(LIMIT, client.log().wait_for(enough)).await.unwrap().is_some()
}

/// Waits until some instance has logged what is `wanted`, and tells its place.
async fn any(lottery: &Lottery, wanted: fn(LogLine<'_>) -> bool) -> usize {
    let mut logging = tokio::task::JoinSet::new();
    for (place, server) in lottery.cluster.servers().iter().enumerate() {
        let log = server.log().clone();
        logging.spawn(async move { log.wait_for(wanted).await.map(|_| place) });
    }
    let first = tokio::time::timeout(LIMIT, logging.join_next()).await;
    first.unwrap().unwrap().unwrap().expect("no instance has ended")
}

/// Plays a scenario until it says that its kill came in the middle. A machine that stores all
/// rows before the kill is delivered has tested nothing.
async fn until_in_the_middle(scenario: impl AsyncFn() -> bool) {
    for _ in 0..ATTEMPTS {
        if scenario().await {
            return;
        }
    }
    panic!("the kill came after the end in all of {ATTEMPTS} attempts");
}

/// Clients may lose the connection to the instance at `place`, and find nobody there.
fn allow_loss(lottery: &mut Lottery, place: usize) {
    let address = format!("address: {}", lottery.cluster.servers()[place].address());
    lottery.allow_alarm("client", "connection", &address);
    lottery.allow_alarm("client", "connect", &address);
}

/// How many rows of `agency` are stored.
fn stored_of(lottery: &Lottery, agency: u32) -> usize {
    let start = format!("{agency},");
    lottery.stored().lines().filter(|line| line.starts_with(&start)).count()
}

/// Whether this client had rows stored after it had lost its connection.
fn sent_after_a_loss(client: &ClientProcess) -> bool {
    let log = fs::read_to_string(client.process().log_path()).unwrap();
    let mut lines = log.lines().map(LogLine);
    lines.any(|line| line.is("connection", "fail"))
        && lines.any(|line| line.is("apuestas_enviadas", "success"))
}

#[tokio::test]
async fn clients_leave_a_killed_server_for_another() {
    until_in_the_middle(async || {
        let (mut lottery, mut clients) = in_the_middle(2, 4).await;
        let place = any(&lottery, is_batch).await;
        allow_loss(&mut lottery, place);
        lottery.cluster.servers_mut()[place].kill().await.unwrap();
        let _directory = lottery.end_right(&mut clients).await;
        clients.iter().any(sent_after_a_loss)
    })
    .await;
}

/// Waits until this client has had rows stored after it had lost its connection.
async fn stored_after_a_loss(client: &ClientProcess) {
    let is_lost = std::cell::Cell::new(false);
    let stored = |line: LogLine<'_>| {
        is_lost.set(is_lost.get() || line.is("connection", "fail"));
        is_lost.get() && line.is("apuestas_enviadas", "success")
    };
    client.log().wait_for(stored).await.expect("it has rows left");
}

/// Whether this client is connected to `address`.
fn is_connected(client: &ClientProcess, address: SocketAddr) -> bool {
    let log = client.log().tail(usize::MAX);
    let mut connects =
        log.iter().map(|line| LogLine(line)).filter(|line| line.is("connect", "success"));
    connects.next_back().is_some_and(|line| line.field("address") == Some(&address.to_string()))
}

#[tokio::test]
async fn agencies_of_a_killed_server_store_elsewhere_within_a_second() {
    until_in_the_middle(async || {
        let (mut lottery, mut clients) = in_the_middle(2, 4).await;
        let place = any(&lottery, is_batch).await;
        allow_loss(&mut lottery, place);
        let server = &mut lottery.cluster.servers_mut()[place];
        let address = server.address();
        let killed = Instant::now();
        server.kill().await.unwrap();
        let is_left = |client: &&ClientProcess| {
            let rows = stored_of(&lottery, client.agency()) + 2 * BATCH as usize;
            is_connected(client, address) && rows < ROWS as usize
        };
        let left: Vec<&ClientProcess> = clients.iter().filter(is_left).collect();
        for client in &left {
            let within = killed + Duration::from_secs(1);
            let stored = timeout_at(within, stored_after_a_loss(client)).await;
            stored.expect("it stores elsewhere within a second");
            let (agency, took) = (client.agency(), killed.elapsed().as_secs_f32());
            println!("agency {agency} stores elsewhere after {took:.1} s");
        }
        let is_middle = !left.is_empty();
        lottery.end_right(&mut clients).await;
        is_middle
    })
    .await;
}

#[tokio::test]
async fn clients_wait_for_servers_that_all_were_killed() {
    until_in_the_middle(async || {
        let (mut lottery, mut clients) = in_the_middle(3, 3).await;
        any(&lottery, is_batch).await;
        for place in 0..3 {
            allow_loss(&mut lottery, place);
            lottery.cluster.servers_mut()[place].kill().await.unwrap();
        }
        // Nobody is left who could store anything.
        let is_middle = lottery.stored().lines().count() < 3 * ROWS as usize;
        for server in lottery.cluster.servers_mut() {
            server.restart().await.unwrap();
        }
        lottery.end_right(&mut clients).await;
        is_middle
    })
    .await;
}

#[tokio::test]
async fn a_killed_client_goes_on_where_it_was() {
    until_in_the_middle(async || {
        let (lottery, mut clients) = in_the_middle(1, 2).await;
        let (mut is_middle, mut in_flight) = (true, BATCH as usize);
        // Over and over, with other batch sizes.
        for size in [7, 64, 1] {
            if !wait_for_batches(&clients[0]).await {
                is_middle = false;
                break;
            }
            clients[0].kill().await.unwrap();
            // One packet of it may still be executed.
            is_middle &= stored_of(&lottery, 1) + in_flight < ROWS as usize;
            in_flight = size;
            let launch = lottery.client(1).with("CLI_BATCH_SIZE", size);
            clients[0] = lottery.cluster.spawn_client(1, launch).unwrap();
        }
        lottery.end_right(&mut clients).await;
        is_middle
    })
    .await;
}

#[tokio::test]
async fn two_clients_of_one_agency_store_every_row_once() {
    let (mut lottery, mut clients) = in_the_middle(2, 1).await;
    // Whoever comes second with a row finds it stored, partly stored, or closed.
    for reason in ["gap ", "overlap ", "closed ", "drawn "] {
        lottery.allow_alarm("server", "apuestas_almacenadas", &format!("error: {reason}"));
    }
    let launch = lottery.client(1).with("CLI_BATCH_SIZE", 7);
    let directory = &lottery.cluster.plan().directory;
    clients.push(ClientProcess::spawn("client-twin", 1, launch, directory).unwrap());
    lottery.end_right(&mut clients).await;
}

#[tokio::test]
async fn a_client_that_was_killed_while_it_waited_gets_its_winners() {
    let lottery = Setup::new(1, 2).rows(1, &rows(1, 50, 3)).rows(2, &rows(2, 50, 0)).start().await;
    let mut client = lottery.spawn(1);
    let server = &lottery.cluster.servers()[0];
    server.wait_for("a close", LIMIT, is_close).await.unwrap();
    client.kill().await.unwrap();
    let mut clients = vec![lottery.spawn(1), lottery.spawn(2)];
    let ends = lottery.finish_clients(&mut clients).await;
    assert_eq!(ends[0].printed, ["1000000", "1000001", "1000002"]);
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn clients_that_wait_for_the_draw_outlive_their_server() {
    let mut lottery =
        Setup::new(2, 2).rows(1, &rows(1, 50, 3)).rows(2, &rows(2, 50, 1)).start().await;
    let first = lottery.spawn(1);
    let place = any(&lottery, is_close).await;
    allow_loss(&mut lottery, place);
    lottery.cluster.servers_mut()[place].kill().await.unwrap();
    let mut clients = vec![first, lottery.spawn(2)];
    let ends = lottery.finish_clients(&mut clients).await;
    assert_eq!(ends[0].printed, ["1000000", "1000001", "1000002"]);
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn clients_leave_a_server_that_hangs() {
    let mut lottery =
        Setup::new(2, 2).rows(1, &rows(1, 500, 1)).rows(2, &rows(2, 500, 1)).start().await;
    lottery.expect_alarm("client", "connection", "no answer in 6s");
    // Its kernel goes on accepting, and nobody answers.
    lottery.pause(0);
    let client = |agency| {
        let launch = lottery.client(agency).with("CLI_ANSWER_TIMEOUT", 6);
        lottery.cluster.spawn_client(agency, launch).unwrap()
    };
    let mut clients = vec![client(1), client(2)];
    lottery.finish_clients(&mut clients).await;
    lottery.assert_right();
    lottery.cluster.servers()[0].resume().unwrap();
    lottery.end().await;
}
