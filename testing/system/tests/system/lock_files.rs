//! Lock files that are removed or replaced while instances run. Truncating them, as the other
//! system does each time that it opens them, changes nothing (`other_system.rs`).

use std::fs;
use std::path::PathBuf;

use crate::common::{
    ANA, ANA_ROW, CLOSED, LEO, LEO_ROW, Lottery, Setup, assert_starts, rows_response, store_rows,
    stored,
};

fn locks(lottery: &Lottery) -> PathBuf {
    lottery.volume.path().join("locks")
}

/// One of the instances starts again and opens other files than those that the other has open.
#[tokio::test]
async fn instances_that_opened_other_lock_files_do_not_write_at_the_same_time() {
    let mut lottery = Setup::with_rows(2, 4, 10_000).start().await;
    lottery.expect_alarms("server-1", &["lock"], "it was replaced while servers run");
    lottery.allow_alarms("server", &["mend_log"], "a group whose writer died");
    let gone = "agencies_closed.lock is gone";
    let asked = ["apuestas_almacenadas", "agencia_consultada", "agencia_cerrada", "look", "store"];
    lottery.allow_alarms("server", &asked, gone);
    lottery.allow_alarms("client", &["connect", "connection"], "next: the same server");
    lottery.allow_alarms("client", &["answer", "connection"], gone);
    let mut clients = Vec::new();
    for agency in 1..=4 {
        // Each keeps to one instance, so that both have agencies to serve.
        let address = lottery.cluster.servers()[agency as usize % 2].address();
        let launch = lottery.client(agency).with("CLI_SERVER_ADDRESS", address);
        clients.push(lottery.cluster.spawn_client(agency, launch).unwrap());
    }
    let held = lottery.lock_all();
    fs::remove_dir_all(locks(&lottery)).unwrap();
    drop(held);
    lottery.kill_and_restart(1).await;
    lottery.end_right(&mut clients).await;
}

/// A volume that was unmounted, for example, or moved: nothing is made in its place.
#[tokio::test]
async fn while_the_volume_is_gone_nothing_is_stored_and_no_winners_are_sent() {
    let mut lottery = Lottery::start(1, 1).await;
    let gone = "agencies_closed.lock is gone: the volume";
    let asked = ["apuestas_almacenadas", "agencia_cerrada", "agencia_consultada"];
    lottery.expect_alarms("server", &asked, gone);
    lottery.allow_alarms("server", &["look"], "agencies_closed.lock is gone");
    lottery.expect_alarms("server", &["store"], "told to try again: put the volume back");
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    let (volume, away) = (lottery.volume.path(), lottery.directory.path().join("away"));
    fs::rename(volume, &away).unwrap();
    for (packet, answer) in [
        (store_rows(1, 2, &[LEO]), rows_response(1, &[ANA], "lock ")),
        ("AgencyClose:1;1".to_owned(), "AgencyCloseResponse:1;lock ".to_owned()),
        ("AgencyStatus:1".to_owned(), "Error:busy lock ".to_owned()),
    ] {
        assert_starts(&lottery.ask(0, &packet).await, &answer);
    }
    assert!(!volume.exists());
    fs::rename(&away, volume).unwrap();
    assert_eq!(lottery.ask(0, &store_rows(1, 2, &[LEO])).await, stored(&[ANA, LEO]));
    let log = lottery.cluster.servers()[0].log();
    assert!(log.wait_for(|line| line.is("store", "success")).await.is_some());
    assert_eq!(lottery.ask(0, "AgencyClose:1;2").await, CLOSED);
    lottery.assert_winners(&["1"]).await;
    fs::rename(volume, &away).unwrap();
    assert_starts(&lottery.ask(0, "WinnersRequest:1").await, "Error:busy lock ");
    fs::rename(&away, volume).unwrap();
    lottery.assert_winners(&["1"]).await;
    lottery.end().await;
}

/// The message says to start any server again. What the other one knew of the log is not trusted,
/// because its lock turns out to be another one.
#[tokio::test]
async fn a_removed_lock_file_is_made_anew_by_any_server_and_the_log_is_read_anew() {
    let mut lottery = Lottery::start(2, 1).await;
    for server in ["server-1", "server-2"] {
        lottery.expect_alarms(server, &["apuestas_almacenadas"], "bets.csv.lock is gone: the volu");
        let next = "start any server again, which makes it anew";
        lottery.expect_alarms(server, &["store"], next);
    }
    let next = "compare `client status` of every agency";
    lottery.expect_alarms("server-2", &["lock"], next);
    lottery.ask(0, &store_rows(1, 1, &[ANA, ANA])).await;
    lottery.assert_status(1, &[ANA, ANA], "open").await;
    let held = lottery.lock_all();
    fs::remove_file(locks(&lottery).join("bets.csv.lock")).unwrap();
    // As long as the file was, but other rows.
    let (other, rows) = (ANA.replace("7574", "7575"), ANA_ROW.replace("7574", "7575").repeat(2));
    fs::write(lottery.volume.bets(), &rows).unwrap();
    drop(held);
    for place in 0..2 {
        let answer = lottery.ask(place, &store_rows(1, 3, &[LEO])).await;
        assert_starts(&answer, &rows_response(1, &[ANA, ANA], ""));
    }
    lottery.restart(0).await;
    // Also by the instance that was not started again.
    for place in [1, 0] {
        let answer = lottery.ask(place, &store_rows(1, 3, &[LEO])).await;
        assert_eq!(answer, stored(&[&other, &other, LEO]));
    }
    assert_eq!(lottery.stored(), rows + LEO_ROW);
    lottery.end().await;
}
