//! Processes that are killed and restarted in the middle; every row is stored once. Servers that
//! hang are shown in `client/tests/servers`, any other moment of a kill by `testing/chaos`.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use harness::client_process::ClientProcess;
use harness::log::LogLine;
use tokio::time::{sleep, timeout};

use crate::common::{LIMIT, Lottery, Setup};

/// Rows and batch size that make hundreds of packets: the middle is long.
const ROWS: u32 = 6_000;
const BATCH: u32 = 10;
const ALL_ROWS: usize = 3 * ROWS as usize;

/// How often the scenario is played until its kills came before the end. A machine that stores all
/// rows before the kills are delivered has tested nothing.
const ATTEMPTS: u32 = 10;

/// A lottery of `agencies`, each of which is in the middle of many small packets.
async fn in_the_middle(servers: u8, agencies: u32) -> (Lottery, Vec<ClientProcess>) {
    let mut lottery = Setup::with_rows(servers, agencies, ROWS).start().await;
    // A killed instance may leave what is cut off later.
    lottery.allow_alarms("server", &["mend_log"], "a group whose writer died");
    let clients = (1..=agencies).map(|agency| with_batches_of(&lottery, agency, BATCH)).collect();
    (lottery, clients)
}

fn with_batches_of(lottery: &Lottery, agency: u32, size: u32) -> ClientProcess {
    let launch = lottery.client(agency).with("CLI_BATCH_SIZE", size);
    lottery.cluster.spawn_client(agency, launch).unwrap()
}

/// Waits until some batches of this client are stored, or its end.
async fn wait_for_batches(client: &ClientProcess) {
    let seen = Cell::new(0);
    let enough = |line: LogLine<'_>| {
        seen.set(seen.get() + u32::from(line.is("apuestas_enviadas", "success")));
        seen.get() >= 5
    };
    timeout(LIMIT, client.log().wait_for(enough)).await.unwrap();
}

/// How many rows that start with this are stored.
fn stored_of(lottery: &Lottery, start: &str) -> usize {
    lottery.stored().lines().filter(|line| line.starts_with(start)).count()
}

/// Kills the instance at `place`; its clients may lose the connection and find it refused.
async fn kill(lottery: &mut Lottery, place: usize) {
    let address = format!("address: {}", lottery.cluster.servers()[place].address());
    lottery.allow_alarms("client", &["connect", "connection"], &address);
    lottery.cluster.servers_mut()[place].kill().await.unwrap();
}

/// Whether this client had rows stored after it had lost its connection.
fn sent_after_a_loss(client: &ClientProcess) -> bool {
    let log = fs::read_to_string(client.process().log_path()).unwrap();
    let mut lines = log.lines().map(LogLine);
    lines.any(|line| line.is("connection", "fail"))
        && lines.any(|line| line.is("apuestas_enviadas", "success"))
}

/// Plays the scenario once; says whether every kill came in the middle.
async fn clients_and_servers_are_killed() -> bool {
    let (mut lottery, mut clients) = in_the_middle(3, 3).await;
    let mut is_middle = true;
    // A client, over and over, with other batch sizes.
    for size in [1, 7, BATCH] {
        wait_for_batches(&clients[0]).await;
        clients[0].kill().await.unwrap();
        // One packet of it may still be executed.
        is_middle &= stored_of(&lottery, "1,") + (BATCH as usize) < ROWS as usize;
        clients[0] = with_batches_of(&lottery, 1, size);
    }
    // A server, whose clients leave it for another.
    let stored = |place: &usize| lottery.cluster.servers()[*place].bets_stored();
    let first = (0..3).max_by_key(stored).unwrap();
    kill(&mut lottery, first).await;
    let leaving = timeout(LIMIT, async {
        while !clients.iter().any(sent_after_a_loss) && stored_of(&lottery, "") < ALL_ROWS {
            sleep(Duration::from_millis(5)).await;
        }
    });
    leaving.await.expect("another server stores");
    // The others, too: no instance is left that could store anything, and clients wait.
    for place in (0..3).filter(|place| *place != first) {
        kill(&mut lottery, place).await;
    }
    is_middle &= clients.iter().any(sent_after_a_loss) && stored_of(&lottery, "") < ALL_ROWS;
    for server in lottery.cluster.servers_mut() {
        server.restart().await.unwrap();
    }
    lottery.end_right(&mut clients).await;
    is_middle
}

#[tokio::test]
async fn killed_clients_and_servers_go_on_where_they_were() {
    for _ in 0..ATTEMPTS {
        if clients_and_servers_are_killed().await {
            return;
        }
    }
    panic!("a kill came after the end in all of {ATTEMPTS} attempts");
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
