//! The volume as others may leave it: torn, written by another system, locked; and instances that
//! are killed between a packet and its answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use common::{LIMIT, Lottery, Setup, digest};
use harness::log::LogLine;

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";
const ANA_ROW: &str = "1,Ana,Paz,1,2000-01-01,7574\n";
const LEO_ROW: &str = "1,Leo,Sol,2,2000-01-02,8\n";

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_before_the_next_batch() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.expect_alarm("server", "mend_log", "a last line without its end");
    for (place, torn) in [(0, "1,Leo,Sol,2,2000-01-02"), (1, "1,\"Leo"), (0, "1")] {
        let rows = lottery.stored().lines().count() as u64;
        append(&lottery.volume.bets(), torn);
        // What is torn is nobody's row.
        let status = format!("AgencyStatusResponse:{rows};");
        let answer = lottery.ask(1 - place, "AgencyStatus:1").await;
        assert!(answer.starts_with(&status), "{answer}");
        assert_eq!(lottery.ask(place, &format!("StoreBet:1;{ANA}")).await, "StoreResponse:0");
        assert_eq!(lottery.stored(), ANA_ROW.repeat(rows as usize + 1));
    }
    let status = format!("AgencyStatusResponse:3;{};open", digest(&[ANA, ANA, ANA]));
    assert_eq!(lottery.ask(1, "AgencyStatus:1").await, status);
    lottery.end().await;
}

/// Agencies that have closed never learn of it: an operator has to.
#[tokio::test]
async fn bets_that_were_removed_under_running_servers_are_told() {
    let mut lottery = Lottery::start(1, 2).await;
    lottery.expect_alarm("server", "read_log", "removed, cut or replaced while servers run");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    assert_eq!(lottery.ask(0, "AgencyClose:1;1").await, "AgencyCloseResponse:0");
    std::fs::remove_file(lottery.volume.bets()).unwrap();
    let stored = format!("StoreRowsResponse:0;1;{}", digest(&[LEO]));
    assert_eq!(lottery.ask(0, &format!("StoreRows:2;1:{LEO}")).await, stored, "it goes on");
    lottery.end().await;
}

/// What is cut off then was acknowledged, and no server died.
#[tokio::test]
async fn bets_that_were_cut_within_a_row_are_told_as_that() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("server", "mend_log", "was removed, cut or replaced by hand");
    lottery.expect_alarm("server", "read_log", "removed, cut or replaced while servers run");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}:{LEO}")).await;
    lottery.ask(0, &format!("StoreRows:1;3:{ANA}:{LEO}")).await;
    let file = OpenOptions::new().write(true).open(lottery.volume.bets()).unwrap();
    // The first of them cuts the last group, which is cut off as a whole.
    for (rows, status) in [(3, "AgencyStatusResponse:2;"), (1, "AgencyStatusResponse:1;")] {
        let whole: Vec<usize> = lottery.stored().match_indices('\n').map(|(at, _)| at).collect();
        file.set_len(whole[rows - 1] as u64 + 5).unwrap();
        let answer = lottery.ask(0, "AgencyStatus:1").await;
        assert!(answer.starts_with(status), "{answer}");
    }
    let log = lottery.cluster.servers()[0].log();
    assert_eq!(log.matching(|line| line.0.contains("nothing of it was acknowledged")), 0);
    lottery.end().await;
}

/// As a day that is put away looks, but for where the files are.
#[tokio::test]
async fn a_day_that_was_removed_is_told_and_one_that_was_put_away_is_a_new_day() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("server", "read_log", "bets.csv");
    lottery.expect_alarm("server", "read_log", "agencies_closed.txt");
    for is_moved in [true, false] {
        lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
        lottery.ask(0, "AgencyClose:1;1").await;
        assert_eq!(lottery.ask(0, "WinnersRequest:1").await, "WinnersResponse:1");
        let server = &lottery.cluster.servers()[0];
        let locks = ["agencies_closed.lock", "bets.csv.lock"].map(|name| lottery.locked(name));
        let files =
            [lottery.volume.bets(), lottery.volume.agencies_closed(), lottery.volume.draw()];
        for file in files {
            match is_moved {
                true => std::fs::rename(&file, file.with_extension("put-away")).unwrap(),
                false => std::fs::remove_file(&file).unwrap(),
            }
        }
        drop(locks);
        let told = |line: LogLine<'_>| match is_moved {
            true => line.is("new_day", "success"),
            false => line.is("read_log", "fail"),
        };
        server.wait_for("what became of the day", LIMIT, told).await.unwrap();
    }
    let log = lottery.cluster.servers()[0].log();
    assert_eq!(log.matching(|line| line.is("new_day", "success")), 1);
    lottery.end().await;
}

#[tokio::test]
async fn a_torn_last_line_is_no_row_after_a_restart_either() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("server", "mend_log", "a last line without its end");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    lottery.cluster.servers_mut()[0].kill().await.unwrap();
    // Valid as CSV, but without its line end: `8` may be the start of `8123`.
    append(&lottery.volume.bets(), LEO_ROW.trim_end());
    lottery.cluster.servers_mut()[0].restart().await.unwrap();
    let status = format!("AgencyStatusResponse:1;{};open", digest(&[ANA]));
    assert_eq!(lottery.ask(0, "AgencyStatus:1").await, status);
    let stored = format!("StoreRowsResponse:0;2;{}", digest(&[ANA, LEO]));
    assert_eq!(lottery.ask(0, &format!("StoreRows:1;2:{LEO}")).await, stored);
    assert_eq!(lottery.stored(), format!("{ANA_ROW}{LEO_ROW}"));
    lottery.end().await;
}

#[tokio::test]
async fn rows_of_another_system_count() {
    let setup = Setup::new(2, 2);
    let quoted = "\"1\",\"Eva, \"\"E\"\"\",Gómez,3,2000-02-29,07574\r\n";
    std::fs::write(setup.volume.bets(), format!("1,Ana,Paz,1,2000-01-01,7574\r\n{quoted}"))
        .unwrap();
    let lottery = setup.start().await;
    let eva = "Eva, \"E\";Gómez;3;2000-02-29;7574";
    let status = format!("AgencyStatusResponse:2;{};open", digest(&[ANA, eva]));
    assert_eq!(lottery.ask(0, "AgencyStatus:1").await, status);
    // Appended while we run, as the reference server does it.
    let lock = lottery.locked("bets.csv.lock");
    append(&lottery.volume.bets(), "1,Leo,Sol,2,2000-01-02,8\r\n2,Leo,Sol,2,2000-01-02,8\r\n");
    drop(lock);
    for place in [1, 0] {
        let status = format!("AgencyStatusResponse:3;{};open", digest(&[ANA, eva, LEO]));
        assert_eq!(lottery.ask(place, "AgencyStatus:1").await, status);
    }
    let all = digest(&[ANA, eva, LEO, ANA]);
    let answer = lottery.ask(1, &format!("StoreRows:1;4:{ANA}")).await;
    assert_eq!(answer, format!("StoreRowsResponse:0;4;{all}"));
    // Its closes count as well, without a datagram; and there is no draw.json from it.
    let lock = lottery.locked("agencies_closed.lock");
    append(&lottery.volume.agencies_closed(), "2\n1\n");
    drop(lock);
    for place in 0..2 {
        assert_eq!(lottery.ask(place, "WinnersRequest:1").await, "WinnersResponse:1;3;1");
        assert_eq!(lottery.ask(place, "WinnersRequest:2").await, "WinnersResponse:");
    }
    lottery.end().await;
}

#[tokio::test]
async fn a_lock_that_stays_taken_is_answered_and_nothing_is_stored() {
    let mut lottery = Lottery::start(1, 1).await;
    let held = "another instance holds the lock";
    for action in
        ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada", "agencia_consultada"]
    {
        lottery.expect_alarm("server", action, held);
    }
    // Looks by itself meanwhile, but not when everything else waits already.
    lottery.allow_alarm("server", "look", held);
    let lock = lottery.locked("bets.csv.lock");
    let ask = async |packet: String| lottery.ask(0, &packet).await;
    let hang_up = async {
        let mut connection = lottery.connect(0).await;
        connection.send("AgencyClose:1\n").await.unwrap();
        connection.end().await.unwrap()
    };
    let (bet, batch, rows, close, status, hung_up) = tokio::join!(
        ask(format!("StoreBet:1;{ANA}")),
        ask(format!("StoreBatch:1:{ANA}")),
        ask(format!("StoreRows:1;1:{ANA}")),
        ask("AgencyClose:1;0".to_owned()),
        ask("AgencyStatus:1".to_owned()),
        hang_up,
    );
    assert_eq!(bet, "StoreResponse:1");
    assert_eq!(batch, "StoreResponse:1");
    assert!(rows.starts_with("StoreRowsResponse:1;0;0000000000000000;"), "{rows}");
    assert!(close.starts_with("AgencyCloseResponse:1;"), "{close}");
    assert!(status.starts_with("Error:"), "{status}");
    assert_eq!(hung_up, b"");
    drop(lock);
    let stored = format!("StoreRowsResponse:0;1;{}", digest(&[ANA]));
    assert_eq!(lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await, stored);
    assert_eq!(lottery.stored(), ANA_ROW);
    assert_eq!(lottery.ask(0, "AgencyClose:1;1").await, "AgencyCloseResponse:0");
    assert_eq!(lottery.ask(0, "WinnersRequest:1").await, "WinnersResponse:1");
    lottery.end().await;
}

#[tokio::test]
async fn a_paused_instance_stops_nobody_else() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.pause(0);
    let stored = format!("StoreRowsResponse:0;1;{}", digest(&[ANA]));
    assert_eq!(lottery.ask(1, &format!("StoreRows:1;1:{ANA}")).await, stored);
    // The kernel of the paused one accepts and takes the packet; it is answered later.
    let mut waiting = lottery.connect(0).await;
    waiting.send(format!("StoreRows:1;2:{LEO}\n")).await.unwrap();
    assert_eq!(lottery.ask(1, "AgencyClose:1;1").await, "AgencyCloseResponse:0");
    assert_eq!(lottery.ask(1, "WinnersRequest:1").await, "WinnersResponse:1");
    lottery.expect_alarm("server-1", "apuestas_almacenadas", "error: drawn ");
    lottery.cluster.servers()[0].resume().unwrap();
    let refused = format!("StoreRowsResponse:2;1;{};drawn ", digest(&[ANA]));
    let answer = waiting.line().await.unwrap();
    assert!(answer.starts_with(&refused), "{answer}");
    assert_eq!(lottery.ask(0, "WinnersRequest:1").await, "WinnersResponse:1");
    assert_eq!(lottery.stored(), ANA_ROW);
    lottery.end().await;
}

#[tokio::test]
async fn a_batch_is_whole_or_nothing_when_its_instance_is_killed() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.allow_alarm("server", "mend_log", "a group whose writer died");
    let rows: Vec<String> =
        (1..=900).map(|row| format!("José {row};Núñez;{row};1999-12-31;{row}")).collect();
    let batch = 300;
    let mut next = 0;
    for round in 0.. {
        // Two sent, one of them unread: the kill falls somewhere within the second.
        let mut connection = lottery.connect(round % 2).await;
        for first in [next, next + batch].into_iter().filter(|first| *first < rows.len()) {
            let bets = rows[first..first + batch].join(":");
            connection.send(format!("StoreRows:1;{}:{bets}\n", first + 1)).await.unwrap();
        }
        connection.line().await.unwrap();
        let server = &mut lottery.cluster.servers_mut()[round % 2];
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        let answer = lottery.ask((round + 1) % 2, "AgencyStatus:1").await;
        let stored: usize = answer.split([':', ';']).nth(1).unwrap().parse().unwrap();
        assert!(stored == next + batch || stored == next + 2 * batch, "{stored} after {next}");
        let wire: Vec<&str> = rows[..stored].iter().map(String::as_str).collect();
        assert_eq!(answer, format!("AgencyStatusResponse:{stored};{};open", digest(&wire)));
        next = stored;
        if next == rows.len() {
            break;
        }
    }
    lottery.end().await;
}
