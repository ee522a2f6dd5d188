//! The programs as programs: settings, exit codes, signals, logs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};

use common::{LIMIT, Lottery, binary, run};
use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::Launch;
use harness::server_process::ServerProcess;
use oracle::audit;

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";

#[tokio::test]
async fn sigterm_ends_an_instance_well_whatever_is_connected() {
    let mut lottery = Lottery::start(1, 2).await;
    let mut idle = lottery.connect(0).await;
    assert_eq!(idle.ask(&format!("StoreBet:1;{ANA}")).await.unwrap(), "StoreResponse:0");
    let mut torn = lottery.connect(0).await;
    torn.send("StoreBet:1;A").await.unwrap();
    let mut waiting = lottery.connect(0).await;
    waiting.send("AgencyClose:2\nWinnersRequest:2\n").await.unwrap();
    assert!(lottery.ask(0, "AgencyStatus:2").await.starts_with("AgencyStatusResponse:0;"));
    let server = &mut lottery.cluster.servers_mut()[0];
    server.stop().await.unwrap();
    server.wait_for("its end", LIMIT, |line| line.is("shutdown", "success")).await.unwrap();
    for connection in [idle, torn, waiting] {
        assert_eq!(connection.end().await.unwrap(), b"");
    }
    assert_eq!(lottery.stored(), "1,Ana,Paz,1,2000-01-01,7574\n");
    lottery.end().await;
}

#[tokio::test]
async fn sigterm_loses_nothing_that_was_answered_and_stores_nothing_half() {
    let mut lottery = Lottery::start(1, 1).await;
    let mut connection = lottery.connect(0).await;
    let batch = format!("StoreBatch:1;{}\n", [ANA; 20].join(":"));
    connection.send(batch.repeat(40)).await.unwrap();
    assert_eq!(connection.line().await.unwrap(), "StoreResponse:0");
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let rest = connection.end().await.unwrap();
    let answered = 1 + rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    let stored = lottery.stored().lines().count();
    assert!(stored >= 20 * answered && stored % 20 == 0, "{stored} stored, {answered} answered");
    lottery.end().await;
}

#[tokio::test]
async fn sigterm_ends_an_instance_that_waits_for_a_lock_and_nothing_is_stored() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("server", "apuestas_almacenadas", "another instance holds the lock");
    lottery.allow_alarm("server", "look", "another instance holds the lock");
    let lock = lottery.locked("bets.csv.lock");
    let mut connection = lottery.connect(0).await;
    // What is answered already goes out just before the batch is executed: it is in flight.
    connection.send(format!("Hello\nStoreRows:1;1:{ANA}\n")).await.unwrap();
    assert_eq!(connection.line().await.unwrap(), "Error:unknown packet");
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let answer = String::from_utf8(connection.end().await.unwrap()).unwrap();
    assert!(answer.starts_with("StoreRowsResponse:1;0;"), "{answer:?}");
    assert_eq!(lottery.stored(), "");
    drop(lock);
    lottery.cluster.servers_mut()[0].restart().await.unwrap();
    let again = lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    assert!(again.starts_with("StoreRowsResponse:0;1;"), "{again}");
    assert_eq!(lottery.stored(), "1,Ana,Paz,1,2000-01-01,7574\n");
    lottery.end().await;
}

/// What stands behind the level, in the lines of these actions that an instance logged.
fn logged(server: &ServerProcess, actions: &[&str]) -> Vec<String> {
    let log = fs::read_to_string(server.process().log_path()).unwrap();
    let is_wanted = |line: &&str| actions.contains(&LogLine(line).field("action").unwrap_or(""));
    let text = |line: &str| line[line.find("action: ").unwrap()..].to_owned();
    log.lines().filter(is_wanted).map(text).collect()
}

/// The reference's scripts read these lines by their ends.
#[tokio::test]
async fn lines_of_the_references_actions_end_with_its_fields() {
    let mut lottery = Lottery::start(1, 1).await;
    for packet in ["StoreBet:1;", "StoreBatch:1;", "StoreBatch:1:"] {
        assert_eq!(lottery.ask(0, &format!("{packet}{ANA}")).await, "StoreResponse:0");
    }
    lottery.ask(0, &format!("StoreRows:1;4:{ANA}:{ANA}")).await;
    lottery.ask(0, "AgencyClose:1;5").await;
    assert_eq!(lottery.ask(0, "WinnersRequest:1").await, "WinnersResponse:1;1;1;1;1");
    let server = &mut lottery.cluster.servers_mut()[0];
    server.stop().await.unwrap();
    let actions = ["apuesta_almacenada", "apuestas_almacenadas", "sorteo", "shutdown"];
    let wanted = [
        "action: apuesta_almacenada | result: success | dni: 1 | numero: 7574",
        "action: apuestas_almacenadas | result: success | cantidad: 1",
        "action: apuestas_almacenadas | result: success | cantidad: 1",
        "action: apuestas_almacenadas | result: success | cantidad: 2",
        "action: sorteo | result: success",
        "action: shutdown | result: in_progress | signal: SIGTERM",
        "action: shutdown | result: success",
    ];
    assert_eq!(logged(server, &actions), wanted);
    let draw = logged(server, &["draw"]);
    let [draw] = draw.as_slice() else { panic!("{draw:?}") };
    let told = "action: draw | result: success | numero: 7574 | cantidad: 5 | time: ";
    assert_eq!(*draw, format!("{told}{}", audit::time_of_draw(&lottery.volume).unwrap()));
    lottery.end().await;
}

/// Runs a program whose settings are wrong: exit code 2, and all of these texts in its log.
async fn refuses(launch: Launch, texts: &[&str]) {
    let directory = RunDirectory::temporary().unwrap();
    let ended = run("wrong", &launch, &directory).await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for text in texts {
        assert!(ended.log.contains(text), "{text:?} is not in\n{}", ended.log);
    }
}

#[tokio::test]
async fn wrong_server_settings_are_named_with_what_is_allowed() {
    for (key, value, allowed) in [
        ("SERVER_PORT", "70000", "0 to 65535"),
        ("SERVER_IP", "300.0.0.1", "IPv4"),
        ("SERVER_LISTEN_BACKLOG", "many", "1 to 65535"),
        ("UDP_BROADCAST_IP", "x", "IPv4"),
        ("UDP_BROADCAST_PORT", "0", "1 to 65535"),
        ("AGENCIES_AMOUNT", "0", "1 to 100000"),
        ("LOTTERY_WINNER_NUMBER", "10000", "0 to 9999"),
        ("LOGGING_LEVEL", "LOUD", "NOTSET, DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("SHARED_VOLUME", "/dev/null/volume", "must be a directory"),
    ] {
        let launch = Launch::new(&binary(), &["server"]).with(key, value);
        refuses(launch, &[&format!("{key}={value}"), allowed]).await;
    }
    // All at once, each in a line of its own.
    let both =
        Launch::new(&binary(), &["server"]).with("SERVER_PORT", "x").with("AGENCIES_AMOUNT", "y");
    refuses(both, &["SERVER_PORT=x", "AGENCIES_AMOUNT=y"]).await;
    let unknown = Launch::new(&binary(), &["server", "serve", "--nonsense"]);
    refuses(unknown, &["--nonsense"]).await;
}

#[tokio::test]
async fn a_wrong_volume_is_named_with_what_it_must_be() {
    let directory = RunDirectory::temporary().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for volume in [file.clone(), file.join("within"), "/proc/none/volume".into()] {
        let volume = volume.display().to_string();
        let launch = Launch::new(&binary(), &["server"])
            .with("SERVER_IP", "127.0.0.1")
            .with("SERVER_PORT", 0)
            .with("SHARED_VOLUME", &volume);
        refuses(launch, &[&format!("SHARED_VOLUME={volume} (must be a directory")]).await;
    }
}

#[tokio::test]
async fn wrong_client_settings_are_named_with_what_is_allowed() {
    let client = || {
        Launch::new(&binary(), &["client"])
            .with("CLI_ID", 1)
            .with("CLI_SERVER_ADDRESS", "127.0.0.1:1")
            .with("CLI_BETS_DIR", ".")
    };
    for (key, value) in [
        ("CLI_ID", "zero"),
        ("CLI_ID", "0"),
        ("CLI_BATCH_SIZE", "0"),
        ("CLI_BATCH_SIZE", "x"),
        ("CLI_MAX_PACKET_BYTES", "1"),
        ("CLI_SERVER_ADDRESS", "nowhere"),
        ("CLI_LOG_LEVEL", "loud"),
    ] {
        refuses(client().with(key, value), &[&format!("{key}={value}"), "must be"]).await;
    }
    // In the same form as the server's, each in a line of its own.
    let both = client().with("CLI_ID", "x").with("CLI_BATCH_SIZE", "y");
    let line = "CRITICAL action: config | result: fail | error: CLI_";
    refuses(both, &[&format!("{line}ID=x (from"), &format!("{line}BATCH_SIZE=y (from")]).await;
    refuses(client().with("CLI_BETS_DIR", "no-such-directory"), &["no-such-directory"]).await;
    refuses(Launch::new(&binary(), &["client", "--nonsense"]), &["--nonsense"]).await;
}

#[tokio::test]
async fn json_logs_are_json() {
    let directory = RunDirectory::temporary().unwrap();
    let launch = Launch::new(&binary(), &["server"])
        .with("LOG_FORMAT", "json")
        .with("SERVER_IP", "127.0.0.1")
        .with("SERVER_PORT", 0)
        .with("SHARED_VOLUME", "/dev/null/volume");
    let ended = run("json", &launch, &directory).await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for line in ended.log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["action"].is_string() && line["result"].is_string(), "{line}");
    }
    assert!(ended.log.contains("/dev/null/volume"), "{}", ended.log);
}

#[tokio::test]
async fn health_tells_whether_an_instance_serves() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("health", "health", "connect to ");
    let address = lottery.cluster.servers()[0].address();
    let health = Launch::new(&binary(), &["server", "health"])
        .with("SERVER_IP", address.ip())
        .with("SERVER_PORT", address.port());
    let healthy = run("health", &health, &lottery.directory).await;
    assert_eq!(healthy.code, Some(0), "{}", healthy.log);
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let dead = run("health", &health, &lottery.directory).await;
    assert_eq!(dead.code, Some(1), "{}", dead.log);
    lottery.end().await;
}

#[tokio::test]
async fn health_tells_in_plain_words_why_an_instance_does_not_serve() {
    let mut lottery = Lottery::start(1, 1).await;
    let held = "another instance holds the lock";
    lottery.expect_alarm("server", "agencia_consultada", held);
    lottery.allow_alarm("server", "look", held);
    // The system takes its connections, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let _lock = lottery.locked("bets.csv.lock");
    let ask = async |name: &str, address: SocketAddr| {
        let health = Launch::new(&binary(), &["server", "health"])
            .with("SERVER_IP", address.ip())
            .with("SERVER_PORT", address.port());
        let ended = run(name, &health, &lottery.directory).await;
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        ended.log
    };
    let (busy, mute) = tokio::join!(
        ask("busy", lottery.cluster.servers()[0].address()),
        ask("mute", silent.local_addr().unwrap()),
    );
    assert!(busy.contains("runs and cannot serve: busy another instance"), "{busy}");
    assert!(mute.contains("has not answered in 6 s: it is paused, or stuck"), "{mute}");
    lottery.expect_alarm("busy", "health", "runs and cannot serve");
    lottery.expect_alarm("mute", "health", "has not answered");
    lottery.end().await;
}
