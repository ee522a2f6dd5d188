//! The client's log lines for which the reference's client has a counterpart: scripts read them.

use std::fs::{self, File, OpenOptions};
use std::process::Command;

use fs2::FileExt as _;
use harness::directory::RunDirectory;
use harness::process::Launch;

use crate::common::{LIMIT, Setup, WINNER, assert_has, binary, lines, logs, rows, run};

const SHUTDOWN: &str = "action: shutdown | result: success";

/// The log has the line once, and at its end.
fn assert_shut_down(log: &str) {
    assert!(log.ends_with(SHUTDOWN) && log.matches(SHUTDOWN).count() == 1, "{log}");
}

#[tokio::test]
async fn a_day_and_a_single_bet_are_logged_with_the_fields_of_the_reference() {
    let lottery = Setup::new(1, 2).rows(1, &rows(1, 150, 2)).start().await;
    let single = lottery
        .client(2)
        .with("NOMBRE", "Santiago Lionel")
        .with("APELLIDO", "Lorca")
        .with("DOCUMENTO", "30904465")
        .with("NACIMIENTO", "1999-03-17")
        .with("NUMERO", WINNER);
    let day = lottery.client(1);
    let (day, single) =
        tokio::join!(lottery.run("client-1", &day, 0), lottery.run("client-2", &single, 0));
    assert_eq!(single.output, ["30904465"]);
    let row = "2,Santiago Lionel,Lorca,30904465,1999-03-17,7574\n";
    assert!(lottery.stored().contains(row), "{}", lottery.stored());
    let sent = ["100", "50"]
        .map(|count| format!("action: apuestas_enviadas | result: success | cantidad: {count}"));
    assert_eq!(lines(&day.log, &["apuestas_enviadas"]), sent);
    let sent = "action: apuesta_enviada | result: success | dni: 30904465 | numero: 7574";
    assert_eq!(lines(&single.log, &["apuesta_enviada"]), [sent]);
    for (ended, count) in [(day, 2), (single, 1)] {
        let winners =
            format!("action: consulta_ganadores | result: success | cant_ganadores: {count}");
        assert_eq!(lines(&ended.log, &["consulta_ganadores"]), [winners]);
        assert_shut_down(&ended.log);
    }
    lottery.end().await;
}

/// Every key with its wrong values is in the unit tests of `client/src/settings_tests.rs`.
#[tokio::test]
async fn every_end_is_a_shutdown_and_wrong_settings_are_named() {
    let directory = RunDirectory::temporary().unwrap();
    let config = "CRITICAL action: config | result: fail | error: ";
    let wrong =
        ["CLI_ID=x (from", "CLI_BATCH_SIZE=y (from"].map(|error| format!("{config}{error}"));
    for (arguments, settings, code, texts) in [
        // All at once, each in a line of its own.
        (&[][..], &[("CLI_ID", "x"), ("CLI_BATCH_SIZE", "y")][..], 2, &[&*wrong[0], &wrong[1]][..]),
        (&[], &[("CLI_BETS_DIR", "no-such-directory")], 2, &["no-such-directory"]),
        (&[], &[("CLI_WINNERS_FILE", "none/winners")], 2, &["CLI_WINNERS_FILE"]),
        (&[], &[("CLI_GENERATE_ROWS", "10")], 1, &["CLI_GIVE_UP_AFTER"]),
        (&["status"], &[], 1, &["CLI_GIVE_UP_AFTER"]),
        (&["winners"], &[], 1, &["CLI_GIVE_UP_AFTER"]),
        (&["generate", "--out", "/dev/null/x"], &[], 1, &["/dev/null/x"]),
    ] {
        let client = Launch::new(&binary(), &[&["client"], arguments].concat())
            .with("CLI_ID", 1)
            .with("CLI_SERVER_ADDRESS", "127.0.0.1:1")
            .with("CLI_GIVE_UP_AFTER", 1);
        let launch = settings.iter().fold(client, |client, (key, value)| client.with(key, value));
        let ended = run("client", &launch, &directory).await;
        assert_eq!(ended.code, Some(code), "{arguments:?} {settings:?}: {}", ended.log);
        assert_has(&ended.log, texts);
        assert_shut_down(&ended.log);
    }
}

#[tokio::test]
async fn a_client_that_is_stopped_at_any_step_ends_well() {
    let lottery = Setup::new(1, 3).rows(3, &rows(3, 10, 1)).start().await;
    // It reads its file: a pipe, which is open when both ends are, and has no end.
    let file = lottery.bets.file(1);
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let reading = lottery.spawn(1);
    let opened = tokio::task::spawn_blocking(|| OpenOptions::new().write(true).open(file));
    let _endless = tokio::time::timeout(LIMIT, opened).await.unwrap().unwrap().unwrap();
    // It claims its number.
    let claims = lottery.directory.path().join("claims");
    fs::create_dir(&claims).unwrap();
    let held = File::create(claims.join("claims.lock")).unwrap();
    held.lock_exclusive().unwrap();
    let launch = lottery.client(2).with("CLI_ID", "auto").with("CLI_CLAIMS_DIR", claims.display());
    let claiming = lottery.cluster.spawn_client(2, launch).unwrap();
    assert!(logs(&claiming, "claim", "in_progress").await);
    let waiting = lottery.spawn(3);
    assert!(logs(&waiting, "agencia_cerrada", "success").await);
    for mut client in [reading, claiming, waiting] {
        let status = client.stop().await.unwrap().expect("it ends by itself");
        assert_eq!(status.code(), Some(0));
        assert_shut_down(&client.log().tail(usize::MAX).join("\n"));
    }
    lottery.end().await;
}
