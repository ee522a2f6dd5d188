//! Processes that are killed and restarted in the middle; every row is stored once. Servers that
//! hang are shown in `client/tests/servers`.

use std::cell::Cell;
use std::fs;

use harness::client_process::ClientProcess;
use harness::log::LogLine;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::{LIMIT, Lottery, Setup, logs, rows};

/// Rows and batch size that make hundreds of packets: the middle is long.
const ROWS: u32 = 6_000;
const BATCH: u32 = 10;

/// How often a scenario is played until its kill came before the end.
const ATTEMPTS: u32 = 10;

/// A lottery of `agencies`, the first of which is in the middle of many small packets.
async fn in_the_middle(servers: u8, agencies: u32) -> (Lottery, Vec<ClientProcess>) {
    let mut setup = Setup::new(servers, agencies);
    for agency in 1..=agencies {
        setup = setup.rows(agency, &rows(agency, ROWS, agency));
    }
    let mut lottery = setup.start().await;
    // A killed instance may leave what is cut off later.
    lottery.allow_alarms("server", &["mend_log"], "a group whose writer died");
    let clients = (1..=agencies).map(|agency| with_batches_of(&lottery, agency, BATCH)).collect();
    (lottery, clients)
}

fn with_batches_of(lottery: &Lottery, agency: u32, size: u32) -> ClientProcess {
    let launch = lottery.client(agency).with("CLI_BATCH_SIZE", size);
    lottery.cluster.spawn_client(agency, launch).unwrap()
}

/// Waits until some batches of this client are stored; says whether it was so before its end.
async fn wait_for_batches(client: &ClientProcess) -> bool {
    let seen = Cell::new(0);
    let enough = |line: LogLine<'_>| {
        seen.set(seen.get() + u32::from(line.is("apuestas_enviadas", "success")));
        seen.get() >= 5
    };
    timeout(LIMIT, client.log().wait_for(enough)).await.unwrap().is_some()
}

/// Waits until some instance has logged that this `action` succeeded, and returns its place.
async fn any(lottery: &Lottery, action: &'static str) -> usize {
    let mut logging = JoinSet::new();
    for (place, server) in lottery.cluster.servers().iter().enumerate() {
        let log = server.log().clone();
        logging.spawn(async move {
            log.wait_for(|line| line.is(action, "success")).await.map(|_| place)
        });
    }
    let first = timeout(LIMIT, logging.join_next()).await;
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

/// Kills the instance at `place`; its clients may lose the connection and find it refused.
async fn kill(lottery: &mut Lottery, place: usize) {
    let address = format!("address: {}", lottery.cluster.servers()[place].address());
    lottery.allow_alarms("client", &["connect", "connection"], &address);
    lottery.cluster.servers_mut()[place].kill().await.unwrap();
}

/// How many rows of `agency` are stored.
fn stored_of(lottery: &Lottery, agency: u32) -> u32 {
    let start = format!("{agency},");
    lottery.stored().lines().filter(|line| line.starts_with(&start)).count() as u32
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
        let place = any(&lottery, "apuestas_almacenadas").await;
        kill(&mut lottery, place).await;
        let _directory = lottery.end_right(&mut clients).await;
        clients.iter().any(sent_after_a_loss)
    })
    .await;
}

#[tokio::test]
async fn clients_wait_for_servers_that_all_were_killed() {
    until_in_the_middle(async || {
        let (mut lottery, mut clients) = in_the_middle(3, 3).await;
        any(&lottery, "apuestas_almacenadas").await;
        for place in 0..3 {
            kill(&mut lottery, place).await;
        }
        // No instance is left that could store anything.
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
        let (mut is_middle, mut in_flight) = (true, BATCH);
        // Over and over, with other batch sizes.
        for size in [7, 64, 1] {
            if !wait_for_batches(&clients[0]).await {
                is_middle = false;
                break;
            }
            clients[0].kill().await.unwrap();
            // One packet of it may still be executed.
            is_middle &= stored_of(&lottery, 1) + in_flight < ROWS;
            in_flight = size;
            clients[0] = with_batches_of(&lottery, 1, size);
        }
        lottery.end_right(&mut clients).await;
        is_middle
    })
    .await;
}

#[tokio::test]
async fn two_clients_of_one_agency_store_every_row_once() {
    let (mut lottery, mut clients) = in_the_middle(2, 1).await;
    // The second one with a row finds it stored, partly stored, or closed.
    for reason in ["gap ", "overlap ", "closed ", "drawn "] {
        lottery.allow_alarms("server", &["apuestas_almacenadas"], &format!("error: {reason}"));
    }
    let launch = lottery.client(1).with("CLI_BATCH_SIZE", 7);
    let directory = &lottery.cluster.plan().directory;
    clients.push(ClientProcess::spawn("client-twin", 1, launch, directory).unwrap());
    lottery.end_right(&mut clients).await;
}

#[tokio::test]
async fn agencies_that_wait_for_the_draw_outlive_their_server_and_their_own_death() {
    let mut setup = Setup::new(2, 3);
    for agency in 1..=3 {
        setup = setup.rows(agency, &rows(agency, 50, agency));
    }
    let mut lottery = setup.start().await;
    let first = lottery.spawn(1);
    let place = any(&lottery, "agencia_cerrada").await;
    let mut second = lottery.spawn(2);
    assert!(logs(&second, "agencia_cerrada", "success").await);
    second.kill().await.unwrap();
    kill(&mut lottery, place).await;
    let mut clients = vec![first, lottery.spawn(2), lottery.spawn(3)];
    let ends = lottery.finish_clients(&mut clients).await;
    assert_eq!(ends[0].printed, ["1000000"]);
    assert_eq!(ends[1].printed, ["2000000", "2000001"]);
    lottery.assert_right();
    lottery.end().await;
}
