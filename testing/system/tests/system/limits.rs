//! Locks that a paused instance holds, or waits for while it is paused.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::raw_connection::RawConnection;
use harness::server_process::ServerProcess;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::common::{ANA, LEO, LIMIT, Lottery, assert_starts, rows_response, store_rows, stored};

/// How long a lock is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What a machine that does other things may add to it.
const MARGIN: Duration = Duration::from_secs(3);

/// How often the system is asked for what it does not report by itself.
const ASK_EVERY: Duration = Duration::from_millis(1);

const HELD: &str = "another instance holds the lock";

async fn pause(server: &ServerProcess) {
    server.pause().unwrap();
    let pausing = timeout(LIMIT, async {
        while !is_paused(server) {
            sleep(ASK_EVERY).await;
        }
    });
    pausing.await.expect("every thread stops");
}

/// Whether every thread of it has stopped.
fn is_paused(server: &ServerProcess) -> bool {
    let id = server.process().id().unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks.flatten().all(|task| {
        // A thread may have ended since.
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.is_empty() || status.contains("\nState:\tT")
    })
}

/// Pauses the instance, which is storing, over and over until it holds a lock then.
async fn pause_while_it_holds_a_lock(server: &ServerProcess) {
    for _ in 0..10_000 {
        pause(server).await;
        if server.holds_lock() {
            return;
        }
        server.resume().unwrap();
        sleep(ASK_EVERY).await;
    }
    panic!("it never held a lock");
}

/// These bets of agency 1, counted from 1.
fn bets(places: Range<usize>) -> Vec<String> {
    let bet = |place| format!("José {place};Núñez;{place};1999-12-31;{}", place % 10_000);
    places.map(bet).collect()
}

/// Stores bets of agency 1, many packets at once, again and again until `is_last`, and once more.
/// Returns how many were acknowledged.
///
/// A pause may last longer than a packet waits for its lock. Then the packet is answered 1 and is
/// not stored, and those behind it are a gap: the next packets start at the row that is missing.
async fn store_until(is_last: Arc<AtomicBool>, mut connection: RawConnection) -> usize {
    const PACKETS: usize = 500;
    const BATCH: usize = 20;
    let (mut acknowledged, mut ends) = (0, false);
    while !ends {
        ends = is_last.load(Ordering::Relaxed);
        let first = acknowledged + 1;
        let firsts = (first..).step_by(BATCH).take(PACKETS);
        let packet = |first| store_rows(1, first, &bets(first..first + BATCH)) + "\n";
        connection.send(firsts.map(packet).collect::<String>()).await.unwrap();
        for _ in 0..PACKETS {
            let answer = connection.line().await.unwrap();
            let done = format!("StoreRowsResponse:0;{};", acknowledged + BATCH);
            if answer.starts_with(&done) {
                acknowledged += BATCH;
            } else {
                let fields: Vec<&str> = answer.splitn(4, [':', ';']).collect();
                assert_eq!(fields[2], acknowledged.to_string(), "{answer}");
                let is_gap = fields[1] == "2" && answer.contains(";gap ");
                assert!(is_gap || (fields[1] == "1" && answer.contains(HELD)), "{answer}");
            }
        }
    }
    acknowledged
}

/// Sends a packet until it is not answered 1, as a client does.
async fn ask_until_done(lottery: &Lottery, place: usize, packet: &str) -> String {
    loop {
        let answer = lottery.ask(place, packet).await;
        if !answer.starts_with("StoreRowsResponse:1;") {
            return answer;
        }
    }
}

#[tokio::test]
async fn others_of_a_paused_lock_holder_answer_that_they_could_not_and_go_on_when_it_wakes() {
    let mut lottery = Lottery::start(2, 2).await;
    lottery.allow_alarms("server", &["apuestas_almacenadas", "look"], HELD);
    lottery.allow_alarms("server-1", &["apuestas_almacenadas"], "error: gap ");
    let is_last = Arc::new(AtomicBool::new(false));
    let connection = lottery.connect(0).await;
    let storing = tokio::spawn(store_until(Arc::clone(&is_last), connection));
    pause_while_it_holds_a_lock(&lottery.cluster.servers()[0]).await;
    is_last.store(true, Ordering::Relaxed);
    let (before, asked) = (lottery.stored(), Instant::now());
    let next = before.lines().count() + 1;
    let (same, other) = (store_rows(1, next, &bets(next..next + 1)), store_rows(2, 1, &[ANA]));
    let answers = tokio::join!(lottery.ask(1, &same), lottery.ask(1, &other));
    let took = asked.elapsed();
    for answer in [answers.0, answers.1] {
        assert_starts(&answer, "StoreRowsResponse:1;");
    }
    assert!(took < LOCK_LIMIT + MARGIN, "{took:?}");
    assert_eq!(lottery.stored(), before, "nothing is stored while the lock is held");
    lottery.cluster.servers()[0].resume().unwrap();
    assert_eq!(ask_until_done(&lottery, 1, &other).await, stored(&[ANA]));
    let acknowledged = bets(1..storing.await.unwrap() + 1);
    let acknowledged: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
    lottery.assert_status(1, &acknowledged, "open").await;
    assert_eq!(lottery.stored().lines().count(), acknowledged.len() + 1);
    lottery.end().await;
}

#[tokio::test]
async fn an_instance_that_slept_while_it_waited_for_a_lock_stores_nothing_twice_or_too_late() {
    let mut lottery = Lottery::start(2, 2).await;
    lottery.allow_alarms("server-1", &["apuestas_almacenadas", "look"], HELD);
    let lock = lottery.locked("agencies_closed.lock");
    let (mut first, mut second) = (lottery.connect(0).await, lottery.connect(0).await);
    let asked = Instant::now();
    for (connection, packet) in
        [(&mut first, store_rows(1, 1, &[ANA])), (&mut second, store_rows(2, 1, &[LEO]))]
    {
        // The answer to the first packet goes out just before the second one is executed.
        connection.send(format!("Hello\n{packet}\n")).await.unwrap();
        assert_eq!(connection.line().await.unwrap(), "Error:unknown packet");
    }
    let server = &lottery.cluster.servers()[0];
    pause(server).await;
    drop(lock);
    // The other instance answers for one of the two batches meanwhile.
    assert_eq!(lottery.ask(1, &store_rows(1, 1, &[ANA])).await, stored(&[ANA]));
    sleep_until(asked + LOCK_LIMIT).await;
    server.resume().unwrap();
    let (first, second) = (first.line().await.unwrap(), second.line().await.unwrap());
    assert!(first == stored(&[ANA]) || first.starts_with("StoreRowsResponse:1;"), "{first}");
    let is_stored = second == stored(&[LEO]);
    if !is_stored {
        assert_starts(&second, &rows_response(1, &[], ""));
    }
    lottery.assert_status(1, &[ANA], "open").await;
    lottery.assert_status(2, if is_stored { &[LEO] } else { &[] }, "open").await;
    lottery.end().await;
}
