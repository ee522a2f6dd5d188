//! The volume as others may leave it: removed, cut, locked; and instances that are paused while they
//! wait for a lock, or killed between a packet and its answer. Torn rows are in `other_system.rs`,
//! instances that are paused while they hold a lock in `testing/chaos`.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use harness::log::LogLine;
use harness::server_process::ServerProcess;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::common::{
    ANA, ANA_ROW, CLOSED, LEO, LIMIT, Lottery, assert_starts, rows_response, status, store_rows,
    stored,
};

/// How long a lock is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What a machine that does other things may add to it.
const MARGIN: Duration = Duration::from_secs(3);

const HELD: &str = "another instance holds the lock";

/// The rows that are cut off then were acknowledged, and no server died.
#[tokio::test]
async fn bets_that_were_cut_within_a_row_are_reported_as_that() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarms("server", &["mend_log"], "was removed, cut or replaced by hand");
    let cut = "removed, cut or replaced while servers run";
    lottery.expect_alarms("server", &["read_log"], cut);
    lottery.ask(0, &store_rows(1, 1, &[ANA, LEO])).await;
    lottery.ask(0, &store_rows(1, 3, &[ANA, LEO])).await;
    let file = OpenOptions::new().write(true).open(lottery.volume.bets()).unwrap();
    // The first of them cuts the last group, which is cut off as a whole.
    for (rows, left) in [(3, &[ANA, LEO][..]), (1, &[ANA])] {
        let ends: Vec<usize> = lottery.stored().match_indices('\n').map(|(at, _)| at).collect();
        file.set_len(ends[rows - 1] as u64 + 5).unwrap();
        lottery.assert_status(1, left, "open").await;
    }
    let log = lottery.cluster.servers()[0].log();
    assert_eq!(log.matching(|line| line.0.contains("nothing of it was acknowledged")), 0);
    lottery.end().await;
}

/// Agencies that have closed never learn that their bets were removed: an operator has to. Only the
/// moved files tell a day that was archived by hand from one that was removed.
#[tokio::test]
async fn a_removed_day_is_reported_and_a_moved_one_is_a_new_day() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarms("server", &["read_log"], "bets.csv");
    lottery.expect_alarms("server", &["read_log"], "agencies_closed.txt");
    for is_moved in [true, false] {
        lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
        assert_eq!(lottery.ask(0, "AgencyClose:1;1").await, CLOSED);
        lottery.assert_winners(&["1"]).await;
        let locks = lottery.lock_all();
        let volume = &lottery.volume;
        for file in [volume.bets(), volume.agencies_closed(), volume.draw()] {
            match is_moved {
                true => fs::rename(&file, file.with_extension("archived")).unwrap(),
                false => fs::remove_file(&file).unwrap(),
            }
        }
        drop(locks);
        let reported = |line: LogLine<'_>| match is_moved {
            true => line.is("new_day", "success"),
            false => line.is("read_log", "fail"),
        };
        let server = &lottery.cluster.servers()[0];
        server.wait_for("what became of the day", LIMIT, reported).await.unwrap();
    }
    let log = lottery.cluster.servers()[0].log();
    assert_eq!(log.matching(|line| line.is("new_day", "success")), 1);
    assert_eq!(lottery.ask(0, &store_rows(1, 1, &[LEO])).await, stored(&[LEO]), "it goes on");
    lottery.end().await;
}

#[tokio::test]
async fn a_lock_that_stays_taken_is_answered_and_nothing_is_stored() {
    let mut lottery = Lottery::start(1, 1).await;
    let asked =
        ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada", "agencia_consultada"];
    lottery.expect_alarms("server", &asked, HELD);
    // It looks by itself meanwhile, but not when everything else waits already.
    lottery.allow_alarms("server", &["look"], HELD);
    let lock = lottery.locked("bets.csv.lock");
    let asked = Instant::now();
    let ask = async |packet: &str| lottery.ask(0, packet).await;
    let hang_up = async {
        let mut connection = lottery.connect(0).await;
        connection.send("AgencyClose:1\n").await.unwrap();
        connection.end().await.unwrap()
    };
    let (bet, batch) = (format!("StoreBet:1;{ANA}"), format!("StoreBatch:1:{ANA}"));
    let rows = store_rows(1, 1, &[ANA]);
    let (bet, batch, not_stored, close, status, hung_up) = tokio::join!(
        ask(&bet),
        ask(&batch),
        ask(&rows),
        ask("AgencyClose:1;0"),
        ask("AgencyStatus:1"),
        hang_up,
    );
    assert!(asked.elapsed() < LOCK_LIMIT + MARGIN, "{:?}", asked.elapsed());
    assert_eq!((&*bet, &*batch), ("StoreResponse:1", "StoreResponse:1"));
    assert_starts(&not_stored, &rows_response(1, &[], ""));
    assert_starts(&close, "AgencyCloseResponse:1;");
    assert_starts(&status, "Error:");
    assert_eq!(hung_up, b"");
    drop(lock);
    assert_eq!(lottery.ask(0, &rows).await, stored(&[ANA]));
    assert_eq!(lottery.stored(), ANA_ROW);
    assert_eq!(lottery.ask(0, "AgencyClose:1;1").await, CLOSED);
    lottery.assert_winners(&["1"]).await;
    lottery.end().await;
}

/// Whether every thread of it has stopped.
fn is_paused(server: &ServerProcess) -> bool {
    let id = server.process().id().unwrap();
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks.flatten().all(|task| {
        // A thread may have ended since.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.is_empty() || status.contains("\nState:\tT")
    })
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
    server.pause().unwrap();
    let pausing = timeout(LIMIT, async {
        while !is_paused(server) {
            sleep(Duration::from_millis(1)).await;
        }
    });
    pausing.await.expect("every thread stops");
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

#[tokio::test]
async fn a_batch_is_whole_or_nothing_when_its_instance_is_killed() {
    const BATCH: usize = 300;
    let mut lottery = Lottery::start(2, 1).await;
    lottery.allow_alarms("server", &["mend_log"], "a group whose writer died");
    let rows: Vec<String> =
        (1..=3 * BATCH).map(|row| format!("José {row};Núñez;{row};1999-12-31;{row}")).collect();
    let wire: Vec<&str> = rows.iter().map(String::as_str).collect();
    let (mut next, mut round) = (0, 0);
    while next < rows.len() {
        // Two batches are sent, and one answer is read: the kill falls somewhere within the second.
        let mut connection = lottery.connect(round % 2).await;
        for (place, batch) in wire[next..].chunks(BATCH).take(2).enumerate() {
            let packet = store_rows(1, next + place * BATCH + 1, batch);
            connection.send(packet + "\n").await.unwrap();
        }
        connection.line().await.unwrap();
        lottery.kill_and_restart(round % 2).await;
        let answer = lottery.ask((round + 1) % 2, "AgencyStatus:1").await;
        let whole = [next + BATCH, next + 2 * BATCH];
        let stored = whole.into_iter().filter(|count| *count <= rows.len());
        let now = stored.into_iter().find(|count| answer == status(&wire[..*count], "open"));
        next = now.unwrap_or_else(|| panic!("after {next}: {answer}"));
        round += 1;
    }
    lottery.end().await;
}
