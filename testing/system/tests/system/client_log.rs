//! The client's log lines for which the reference's client has a counterpart: scripts read them.

use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::Launch;

use crate::common::{Lottery, Setup, binary, logs, rows, run, with_one_bet};

const SHUTDOWN: &str = "action: shutdown | result: success";

/// The lines of this action, without their times and levels.
fn lines<'l>(log: &'l str, action: &str) -> Vec<&'l str> {
    let lines = log.lines().filter(|line| LogLine(line).field("action") == Some(action));
    lines.map(fields).collect()
}

fn fields(line: &str) -> &str {
    &line[line.find("action: ").unwrap()..]
}

/// The log has the line once, and at its end.
fn assert_shut_down(log: &str) {
    assert_eq!(log.lines().last().map(fields), Some(SHUTDOWN), "{log}");
    assert_eq!(log.lines().filter(|line| LogLine(line).is("shutdown", "success")).count(), 1);
}

#[tokio::test]
async fn a_day_is_logged_with_the_fields_of_the_reference() {
    let lottery = Setup::new(1, 1).rows(1, &rows(1, 150, 2)).start().await;
    let ended = lottery.run("client-1", &lottery.client(1), 0).await;
    let sent = ["100", "50"]
        .map(|count| format!("action: apuestas_enviadas | result: success | cantidad: {count}"));
    assert_eq!(lines(&ended.log, "apuestas_enviadas"), sent);
    let winners = "action: consulta_ganadores | result: success | cant_ganadores: 2";
    assert_eq!(lines(&ended.log, "consulta_ganadores"), [winners]);
    assert_shut_down(&ended.log);
    lottery.end().await;
}

#[tokio::test]
async fn a_single_bet_is_logged_with_the_fields_of_the_reference() {
    let lottery = Lottery::start(1, 1).await;
    let ended = lottery.run("client-1", &with_one_bet(lottery.client(1)), 0).await;
    assert_eq!(ended.output, ["30904465"]);
    assert_eq!(lottery.stored(), "1,Santiago Lionel,Lorca,30904465,1999-03-17,7574\n");
    let sent = "action: apuesta_enviada | result: success | dni: 30904465 | numero: 7574";
    assert_eq!(lines(&ended.log, "apuesta_enviada"), [sent]);
    assert_eq!(lines(&ended.log, "consulta_ganadores").len(), 1);
    assert_shut_down(&ended.log);
    lottery.end().await;
}

#[tokio::test]
async fn every_end_is_a_shutdown() {
    let directory = RunDirectory::temporary().unwrap();
    let client = |arguments: &[&str]| {
        Launch::new(&binary(), &[&["client"], arguments].concat())
            .with("CLI_ID", 1)
            .with("CLI_SERVER_ADDRESS", "127.0.0.1:1")
            .with("CLI_GIVE_UP_AFTER", 1)
            .with("CLI_BETS_DIR", ".")
    };
    for (name, launch, code) in [
        ("setting", client(&[]).with("CLI_BATCH_SIZE", "x"), 2),
        ("file", client(&[]), 2),
        ("winners-file", client(&[]).with("CLI_WINNERS_FILE", "none/winners"), 2),
        ("give-up", client(&[]).with("CLI_GENERATE_ROWS", 10), 1),
        ("status", client(&["status"]), 1),
        ("winners", client(&["winners"]), 1),
        ("generate", client(&["generate", "--out", "/dev/null/x"]), 1),
    ] {
        let ended = run(name, &launch, &directory).await;
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.log);
        assert_shut_down(&ended.log);
    }
}

#[tokio::test]
async fn a_signal_is_a_shutdown() {
    let lottery = Setup::new(1, 2).rows(1, &rows(1, 10, 1)).start().await;
    let mut client = lottery.spawn(1);
    assert!(logs(&client, "agencia_cerrada", "success").await);
    assert_eq!(client.stop().await.unwrap().and_then(|status| status.code()), Some(0));
    assert_shut_down(&client.log().tail(usize::MAX).join("\n"));
    lottery.end().await;
}
