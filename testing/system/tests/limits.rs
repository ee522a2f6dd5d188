//! How long what may take: locks that a paused instance holds, and datagrams that are all lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{LIMIT, Lottery, digest};
use harness::server_process::ServerProcess;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

/// How long a lock is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What a machine that does other things may add to it.
const MARGIN: Duration = Duration::from_secs(3);

/// How often the system is asked for what it tells nobody by itself.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Waits until `is_so`.
async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = timeout(LIMIT, async {
        while !is_so() {
            sleep(ASK_EVERY).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("{what} in {LIMIT:?}"));
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
        server.pause().unwrap();
        wait_until("it is paused", || is_paused(server)).await;
        if server.holds_lock() {
            return;
        }
        server.resume().unwrap();
        sleep(ASK_EVERY).await;
    }
    panic!("it never held a lock");
}

/// The row that stands at `place` of agency 1, from 1.
fn row(place: usize) -> String {
    format!("José {place};Núñez;{place};1999-12-31;{}", place % 10_000)
}

fn rows_packet(first: usize, count: usize) -> String {
    let rows: Vec<String> = (first..first + count).map(row).collect();
    format!("StoreRows:1;{first}:{}", rows.join(":"))
}

#[tokio::test]
async fn others_of_a_paused_lock_holder_answer_that_they_could_not_and_go_on_when_it_wakes() {
    const PACKETS: usize = 500;
    const BATCH: usize = 20;
    let mut lottery = Lottery::start(2, 2).await;
    for action in ["apuestas_almacenadas", "look"] {
        lottery.allow_alarm("server-2", action, "another instance holds the lock");
    }
    // Many packets at once, again and again until it is caught, and once more: they are stored one
    // after the other, and answered in order.
    let caught = Arc::new(AtomicBool::new(false));
    let mut connection = lottery.connect(0).await;
    let storing = tokio::spawn({
        let caught = Arc::clone(&caught);
        async move {
            let (mut stored, mut is_last) = (0, false);
            while !is_last {
                is_last = caught.load(Ordering::Relaxed);
                let places = (0..PACKETS).map(|packet| stored + 1 + packet * BATCH);
                let packets = places.map(|place| rows_packet(place, BATCH) + "\n");
                connection.send(packets.collect::<String>()).await.unwrap();
                for _ in 0..PACKETS {
                    stored += BATCH;
                    let answer = connection.line().await.unwrap();
                    assert!(
                        answer.starts_with(&format!("StoreRowsResponse:0;{stored};")),
                        "{answer}"
                    );
                }
            }
            stored
        }
    });
    pause_while_it_holds_a_lock(&lottery.cluster.servers()[0]).await;
    caught.store(true, Ordering::Relaxed);
    let (before, asked) = (lottery.stored(), Instant::now());
    let stored = before.lines().count();
    let (same, other) = (rows_packet(stored + 1, BATCH), format!("StoreRows:2;1:{ANA}"));
    let (same, refused) = tokio::join!(lottery.ask(1, &same), lottery.ask(1, &other));
    let took = asked.elapsed();
    println!("answered after {:.1} s", took.as_secs_f32());
    for answer in [&same, &refused] {
        assert!(answer.starts_with("StoreRowsResponse:1;"), "{answer}");
    }
    assert!(took < LOCK_LIMIT + MARGIN, "{took:?}");
    assert_eq!(lottery.stored(), before, "nobody stores while the lock is held");
    lottery.cluster.servers()[0].resume().unwrap();
    let accepted = format!("StoreRowsResponse:0;1;{}", digest(&[ANA]));
    assert_eq!(lottery.ask(1, &other).await, accepted);
    let sent = storing.await.unwrap();
    let all: Vec<String> = (1..=sent).map(row).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for place in 0..2 {
        let status = format!("AgencyStatusResponse:{};{};open", all.len(), digest(&all));
        assert_eq!(lottery.ask(place, "AgencyStatus:1").await, status);
    }
    assert_eq!(lottery.stored().lines().count(), all.len() + 1);
    lottery.end().await;
}

#[tokio::test]
async fn an_instance_that_slept_while_it_waited_for_a_lock_stores_nothing_twice_or_too_late() {
    let mut lottery = Lottery::start(2, 2).await;
    for action in ["apuestas_almacenadas", "look"] {
        lottery.allow_alarm("server-1", action, "another instance holds the lock");
    }
    let lock = lottery.locked("agencies_closed.lock");
    let (mut first, mut second) = (lottery.connect(0).await, lottery.connect(0).await);
    let asked = Instant::now();
    first.send(format!("StoreRows:1;1:{ANA}\n")).await.unwrap();
    second.send(format!("StoreRows:2;1:{LEO}\n")).await.unwrap();
    let server = &lottery.cluster.servers()[0];
    wait_until("it waits for the lock", || server.waits_for_lock()).await;
    server.pause().unwrap();
    wait_until("it is paused", || is_paused(server)).await;
    drop(lock);
    // Another one answers for one of the two batches meanwhile.
    let stored = format!("StoreRowsResponse:0;1;{}", digest(&[ANA]));
    assert_eq!(lottery.ask(1, &format!("StoreRows:1;1:{ANA}")).await, stored);
    sleep_until(asked + LOCK_LIMIT).await;
    server.resume().unwrap();
    let (first, second) = (first.line().await.unwrap(), second.line().await.unwrap());
    assert!(first == stored || first.starts_with("StoreRowsResponse:1;"), "{first}");
    let rows = match second.starts_with("StoreRowsResponse:1;") {
        true => "0;0000000000000000".to_owned(),
        false => format!("1;{}", digest(&[LEO])),
    };
    for place in 0..2 {
        let status = lottery.ask(place, "AgencyStatus:2").await;
        assert_eq!(status, format!("AgencyStatusResponse:{rows};open"), "after {second}");
        let status = lottery.ask(place, "AgencyStatus:1").await;
        assert_eq!(status, format!("AgencyStatusResponse:1;{};open", digest(&[ANA])));
    }
    lottery.end().await;
}

#[tokio::test]
async fn without_any_datagram_all_instances_know_the_winners_within_one_and_a_half_seconds() {
    let mut lottery = Lottery::start(3, 2).await;
    let _ports = lottery.keep_datagrams_apart().await;
    lottery.ask(1, &format!("StoreRows:1;1:{ANA}:{LEO}")).await;
    let mut waiting = lottery.connect_all().await;
    for connection in &mut waiting {
        connection.send("WinnersRequest:1\n").await.unwrap();
    }
    assert_eq!(lottery.ask(2, "AgencyClose:1;2").await, "AgencyCloseResponse:0");
    let last_close = Instant::now();
    assert_eq!(lottery.ask(0, "AgencyClose:2;0").await, "AgencyCloseResponse:0");
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:1");
    }
    let took = last_close.elapsed();
    println!("all know the winners after {:.1} s", took.as_secs_f32());
    // A second at the most for a missed datagram, which is promised, and half of one for the rest.
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    lottery.end().await;
}
