//! Lock files that somebody removes or replaces while instances run. Truncating them, as the other
//! system does each time that it opens them, changes nothing (`other_system.rs`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::path::PathBuf;

use common::{Lottery, Setup, digest, rows};

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

fn locks(lottery: &Lottery) -> PathBuf {
    lottery.volume.path().join("locks")
}

/// Both locks, so that nobody is in the middle of anything.
fn hold(lottery: &Lottery) -> [File; 2] {
    ["agencies_closed.lock", "bets.csv.lock"].map(|name| lottery.locked(name))
}

/// One of the instances is started anew and opens other files than those that the rest has open.
#[tokio::test]
async fn instances_that_opened_other_lock_files_do_not_write_at_the_same_time() {
    let mut setup = Setup::new(2, 4);
    for agency in 1..=4 {
        setup = setup.rows(agency, &rows(agency, 10_000, agency));
    }
    let mut lottery = setup.start().await;
    lottery.expect_alarm("server-1", "lock", "it was replaced while servers run");
    lottery.allow_alarm("server", "mend_log", "a group whose writer died");
    for action in ["apuestas_almacenadas", "agencia_consultada", "agencia_cerrada", "look", "store"]
    {
        lottery.allow_alarm("server", action, "agencies_closed.lock is gone");
    }
    for action in ["connect", "connection"] {
        lottery.allow_alarm("client", action, "next: the same server");
    }
    for action in ["answer", "connection"] {
        lottery.allow_alarm("client", action, "agencies_closed.lock is gone");
    }
    let mut clients: Vec<_> = Vec::new();
    for agency in 1..=4 {
        // Each keeps to one instance, so that both have somebody to serve.
        let address = lottery.cluster.servers()[agency as usize % 2].address();
        let launch = lottery.client(agency).with("CLI_SERVER_ADDRESS", address);
        clients.push(lottery.cluster.spawn_client(agency, launch).unwrap());
    }
    let held = hold(&lottery);
    fs::remove_dir_all(locks(&lottery)).unwrap();
    drop(held);
    let server = &mut lottery.cluster.servers_mut()[1];
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    lottery.end_right(&mut clients).await;
}

/// What an instance knew of a log is not taken for true when the lock turns out to be another one.
#[tokio::test]
async fn behind_a_replaced_lock_the_log_is_read_anew() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.expect_alarm("server-1", "lock", "bets.csv.lock");
    lottery.expect_alarm("server-2", "lock", "bets.csv.lock");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}:{ANA}")).await;
    lottery.ask(1, "AgencyStatus:1").await;
    let held = hold(&lottery);
    let path = locks(&lottery).join("bets.csv.lock");
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap();
    // As long as the file was, but other rows.
    let row = "1,Ana,Paz,1,2000-01-01,7575\n";
    fs::write(lottery.volume.bets(), row.repeat(2)).unwrap();
    drop(held);
    let other = ANA.replace("7574", "7575");
    for place in 0..2 {
        let status = format!("AgencyStatusResponse:2;{};open", digest(&[&other, &other]));
        assert_eq!(lottery.ask(place, "AgencyStatus:1").await, status);
    }
    let answer = format!("StoreRowsResponse:0;3;{}", digest(&[&other, &other, LEO]));
    assert_eq!(lottery.ask(0, &format!("StoreRows:1;3:{LEO}")).await, answer);
    assert_eq!(lottery.stored(), format!("{}1,Leo,Sol,2,2000-01-02,8\n", row.repeat(2)));
    lottery.end().await;
}

/// Unmounted, say, or moved: nothing is made in its place, where nobody would look for it.
#[tokio::test]
async fn a_volume_that_is_gone_is_told_and_nothing_is_stored_elsewhere() {
    let mut lottery = Lottery::start(1, 1).await;
    for action in ["apuestas_almacenadas", "agencia_cerrada", "agencia_consultada"] {
        lottery.expect_alarm("server", action, "agencies_closed.lock is gone: the volume");
    }
    lottery.allow_alarm("server", "look", "agencies_closed.lock is gone");
    lottery.expect_alarm("server", "store", "told to try again: put the volume back");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    let (volume, away) = (lottery.volume.path(), lottery.directory.path().join("away"));
    fs::rename(volume, &away).unwrap();
    let state = format!("1;{}", digest(&[ANA]));
    for (packet, refused) in [
        (format!("StoreRows:1;2:{LEO}"), format!("StoreRowsResponse:1;{state};lock ")),
        ("AgencyClose:1;1".to_owned(), "AgencyCloseResponse:1;lock ".to_owned()),
        ("AgencyStatus:1".to_owned(), "Error:busy lock ".to_owned()),
    ] {
        let answer = lottery.ask(0, &packet).await;
        assert!(answer.starts_with(&refused), "{answer}");
    }
    assert!(!volume.exists());
    fs::rename(&away, volume).unwrap();
    let answer = format!("StoreRowsResponse:0;2;{}", digest(&[ANA, LEO]));
    assert_eq!(lottery.ask(0, &format!("StoreRows:1;2:{LEO}")).await, answer);
    let log = lottery.cluster.servers()[0].log();
    assert!(log.wait_for(|line| line.is("store", "success")).await.is_some());
    lottery.end().await;
}

/// As the message says what to do.
#[tokio::test]
async fn a_lock_file_that_was_removed_is_made_anew_by_any_server_that_starts_again() {
    let mut lottery = Lottery::start(2, 1).await;
    for place in 1..=2 {
        let server = format!("server-{place}");
        lottery.expect_alarm(&server, "apuestas_almacenadas", "bets.csv.lock is gone: the volume");
        lottery.expect_alarm(&server, "store", "start any server again, which makes it anew");
    }
    lottery.expect_alarm("server-2", "lock", "compare `client status` of every agency");
    fs::remove_file(locks(&lottery).join("bets.csv.lock")).unwrap();
    let packet = format!("StoreRows:1;1:{ANA}");
    for place in 0..2 {
        let answer = lottery.ask(place, &packet).await;
        assert!(answer.starts_with("StoreRowsResponse:1;0;"), "{answer}");
    }
    let server = &mut lottery.cluster.servers_mut()[0];
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let answer = format!("StoreRowsResponse:0;1;{}", digest(&[ANA]));
    for place in [1, 0] {
        assert_eq!(lottery.ask(place, &packet).await, answer, "also by who was not started again");
    }
    lottery.end().await;
}

#[tokio::test]
async fn winners_of_a_volume_that_is_gone_are_told_to_be_asked_for_again() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.allow_alarm("server", "look", "agencies_closed.lock is gone");
    lottery.expect_alarm("server", "store", "told to try again: put the volume back");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    assert_eq!(lottery.ask(0, "AgencyClose:1;1").await, "AgencyCloseResponse:0");
    let winners = lottery.ask(0, "WinnersRequest:1").await;
    assert!(winners.starts_with("WinnersResponse:"), "{winners}");
    let (volume, away) = (lottery.volume.path(), lottery.directory.path().join("away"));
    fs::rename(volume, &away).unwrap();
    let answer = lottery.ask(0, "WinnersRequest:1").await;
    assert!(answer.starts_with("Error:busy lock "), "{answer}");
    fs::rename(&away, volume).unwrap();
    assert_eq!(lottery.ask(0, "WinnersRequest:1").await, winners);
    lottery.end().await;
}
