//! Processes that are killed, paused and restarted in the middle; every row is stored once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use cluster::client_process::ClientProcess;
use cluster::log::LogLine;
use common::{LIMIT, Lottery, Setup, rows};

/// Rows and batch size that make hundreds of packets: the middle is long.
const ROWS: u32 = 6_000;
const BATCH: u32 = 10;

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
    lottery.expect_alarm("action: mend_log");
    let clients = (1..=agencies).map(|agency| small(&lottery, agency)).collect();
    (lottery, clients)
}

fn small(lottery: &Lottery, agency: u32) -> ClientProcess {
    let launch = lottery.client(agency).with("CLI_BATCH_SIZE", BATCH);
    lottery.cluster.spawn_client(agency, launch).unwrap()
}

/// Waits until the instance at `place` has stored some more batches of `agency`.
async fn wait_for_batches(lottery: &Lottery, place: usize, agency: u32) {
    let (log, agency) = (lottery.cluster.servers()[place].log(), agency.to_string());
    let seen = std::cell::Cell::new(0);
    let enough = |line: LogLine<'_>| {
        let counts = is_batch(line) && line.field("agencia") == Some(&agency);
        seen.set(seen.get() + u32::from(counts));
        seen.get() >= 5
    };
    let waiting = tokio::time::timeout(LIMIT, log.wait_from(log.count(), enough));
    assert!(waiting.await.unwrap().is_some(), "the instance ended");
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

/// Not all of the rows are stored: it is the middle, indeed.
fn assert_middle(lottery: &Lottery) {
    let stored = lottery.stored().lines().count();
    assert!(stored < (ROWS * lottery.bets.agencies()) as usize, "all {stored} rows are stored");
}

#[tokio::test]
async fn clients_leave_a_killed_server_for_another() {
    let (mut lottery, clients) = in_the_middle(2, 4).await;
    let place = any(&lottery, is_batch).await;
    lottery.cluster.servers_mut()[place].kill().await.unwrap();
    assert_middle(&lottery);
    lottery.finish_clients(clients).await;
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn clients_wait_for_servers_that_all_were_killed() {
    let (mut lottery, clients) = in_the_middle(3, 3).await;
    any(&lottery, is_batch).await;
    for server in lottery.cluster.servers_mut() {
        server.kill().await.unwrap();
    }
    assert_middle(&lottery);
    for server in lottery.cluster.servers_mut() {
        server.restart().await.unwrap();
    }
    lottery.finish_clients(clients).await;
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn a_killed_client_goes_on_where_it_was() {
    let (lottery, mut clients) = in_the_middle(1, 2).await;
    // Over and over, with other batch sizes.
    for size in [7, 64, 1] {
        wait_for_batches(&lottery, 0, 1).await;
        clients[0].kill().await.unwrap();
        assert_middle(&lottery);
        let launch = lottery.client(1).with("CLI_BATCH_SIZE", size);
        clients[0] = lottery.cluster.spawn_client(1, launch).unwrap();
    }
    lottery.finish_clients(clients).await;
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn two_clients_of_one_agency_store_every_row_once() {
    let (mut lottery, mut clients) = in_the_middle(2, 1).await;
    // Whoever comes second with a row finds it stored, partly stored, or closed.
    lottery.expect_alarm("apuestas_almacenadas | result: fail");
    let launch = lottery.client(1).with("CLI_BATCH_SIZE", 7);
    let directory = &lottery.cluster.plan().directory;
    clients.push(ClientProcess::spawn("twin", 1, launch, directory).unwrap());
    lottery.finish_clients(clients).await;
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn a_client_that_was_killed_while_it_waited_gets_its_winners() {
    let lottery = Setup::new(1, 2).rows(1, &rows(1, 50, 3)).rows(2, &rows(2, 50, 0)).start().await;
    let mut client = lottery.spawn(1);
    let server = &lottery.cluster.servers()[0];
    server.wait_for("a close", LIMIT, is_close).await.unwrap();
    client.kill().await.unwrap();
    let clients = vec![lottery.spawn(1), lottery.spawn(2)];
    let ends = lottery.finish_clients(clients).await;
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
    lottery.cluster.servers_mut()[place].kill().await.unwrap();
    let clients = vec![first, lottery.spawn(2)];
    let ends = lottery.finish_clients(clients).await;
    assert_eq!(ends[0].printed, ["1000000", "1000001", "1000002"]);
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn clients_leave_a_server_that_hangs() {
    let lottery =
        Setup::new(2, 2).rows(1, &rows(1, 500, 1)).rows(2, &rows(2, 500, 1)).start().await;
    // Its kernel goes on accepting, and nobody answers.
    lottery.cluster.servers()[0].pause().unwrap();
    let client = |agency| {
        let launch = lottery.client(agency).with("CLI_ANSWER_TIMEOUT", 6);
        lottery.cluster.spawn_client(agency, launch).unwrap()
    };
    let clients = vec![client(1), client(2)];
    // An agency starts with the instance in its own place.
    let log = clients[0].log().clone();
    lottery.finish_clients(clients).await;
    assert!(log.matching(|line| line.0.contains("no answer in 6s")) > 0);
    lottery.assert_right();
    lottery.cluster.servers()[0].resume().unwrap();
    lottery.end().await;
}
