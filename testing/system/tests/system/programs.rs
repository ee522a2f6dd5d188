//! The programs as programs: settings, exit codes, signals, logs.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::{ChildProcess, Launch};
use harness::raw_connection::RawConnection;
use harness::server_process::ServerProcess;
use oracle::audit;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::common::{
    ANA, ANA_ROW, LIMIT, Lottery, assert_has, assert_starts, binary, health, lines, rows_response,
    run, store_rows, stored,
};

#[tokio::test]
async fn sigterm_ends_an_instance_well_and_loses_nothing_that_was_answered() {
    let mut lottery = Lottery::start(1, 2).await;
    let mut idle = lottery.connect(0).await;
    assert_eq!(idle.ask(&format!("StoreBet:1;{ANA}")).await.unwrap(), "StoreResponse:0");
    let mut torn = lottery.connect(0).await;
    torn.send("StoreBet:1;A").await.unwrap();
    let mut waiting = lottery.connect(0).await;
    waiting.send("AgencyClose:2\nWinnersRequest:2\n").await.unwrap();
    assert_starts(&lottery.ask(0, "AgencyStatus:2").await, "AgencyStatusResponse:0;");
    let mut storing = lottery.connect(0).await;
    let batch = format!("StoreBatch:1;{}\n", [ANA; 20].join(":"));
    storing.send(batch.repeat(40)).await.unwrap();
    assert_eq!(storing.line().await.unwrap(), "StoreResponse:0");
    let server = &mut lottery.cluster.servers_mut()[0];
    server.stop().await.unwrap();
    server.wait_for("its end", LIMIT, |line| line.is("shutdown", "success")).await.unwrap();
    for connection in [idle, torn, waiting] {
        assert_eq!(connection.end().await.unwrap(), b"");
    }
    // What was answered is stored, and no batch in part.
    let rest = String::from_utf8(storing.end().await.unwrap()).unwrap();
    let (answered, stored) = (1 + rest.lines().count(), lottery.stored());
    let batches = stored.lines().count() / 20;
    assert!(batches >= answered, "{batches} stored, {answered} answered");
    assert_eq!(stored, ANA_ROW.repeat(1 + 20 * batches));
    lottery.end().await;
}

#[tokio::test]
async fn sigterm_ends_an_instance_that_waits_for_a_lock_and_nothing_is_stored() {
    let mut lottery = Lottery::start(1, 1).await;
    let held = "another instance holds the lock";
    lottery.expect_alarms("server", &["apuestas_almacenadas"], held);
    lottery.allow_alarms("server", &["look"], held);
    let lock = lottery.locked("bets.csv.lock");
    let mut connection = lottery.connect(0).await;
    let rows = store_rows(1, 1, &[ANA]);
    // The answer to the first packet goes out just before the batch is executed: it is in flight.
    connection.send(format!("Hello\n{rows}\n")).await.unwrap();
    assert_eq!(connection.line().await.unwrap(), "Error:unknown packet");
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let answer = String::from_utf8(connection.end().await.unwrap()).unwrap();
    assert_starts(&answer, &rows_response(1, &[], ""));
    assert_eq!(lottery.stored(), "");
    drop(lock);
    lottery.cluster.servers_mut()[0].restart().await.unwrap();
    assert_eq!(lottery.ask(0, &rows).await, stored(&[ANA]));
    assert_eq!(lottery.stored(), ANA_ROW);
    lottery.end().await;
}

/// The reference's scripts read these lines by their ends.
#[tokio::test]
async fn lines_of_the_references_actions_end_with_its_fields() {
    let mut lottery = Lottery::start(1, 1).await;
    for packet in ["StoreBet:1;", "StoreBatch:1;", "StoreBatch:1:"] {
        assert_eq!(lottery.ask(0, &format!("{packet}{ANA}")).await, "StoreResponse:0");
    }
    lottery.ask(0, &store_rows(1, 4, &[ANA, ANA])).await;
    lottery.ask(0, "AgencyClose:1;5").await;
    lottery.assert_winners(&["1;1;1;1;1"]).await;
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    let log = lottery.cluster.servers()[0].log().tail(usize::MAX).join("\n");
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
    assert_eq!(lines(&log, &actions), wanted);
    let time = audit::time_of_draw(&lottery.volume).unwrap();
    let draw = "action: draw | result: success | numero: 7574 | cantidad: 5 | time: ";
    assert_eq!(lines(&log, &["draw"]), [format!("{draw}{time}")]);
    lottery.end().await;
}

/// A server on any free port.
fn server(volume: &Path) -> Launch {
    Launch::new(&binary(), &["server"])
        .with("SERVER_IP", "127.0.0.1")
        .with("SERVER_PORT", 0)
        .with("UDP_BROADCAST_IP", "127.255.255.255")
        .with("SHARED_VOLUME", volume.display())
}

/// Every key with its wrong values is in the unit tests of `server/src/settings.rs`.
#[tokio::test]
async fn wrong_server_settings_are_named_with_what_is_allowed() {
    let wrong = "# of this machine\nSERVER_PORT=1\nAGENCIES_AMOUNT=none\n";
    for (dotenv, settings, named) in [
        ("", &[("SERVER_PORT", "70000")][..], "0 to 65535"),
        // All at once, each in a line of its own.
        ("", &[("SERVER_PORT", "x"), ("AGENCIES_AMOUNT", "y")], "must be"),
        ("", &[("SHARED_VOLUME", "/dev/null/volume")], "must be a directory"),
        ("", &[("SHARED_VOLUME", "/dev/null")], "must be a directory"),
        ("", &[("SHARED_VOLUME", "/proc/none/volume")], "must be a directory"),
        (wrong, &[], "AGENCIES_AMOUNT=none (from line 3 of .env): must be"),
        ("A=2\nSHARED_VOLUME=my volume\n", &[], "line 2 of .env: must be NAME=value"),
    ] {
        let directory = RunDirectory::temporary().unwrap();
        fs::write(directory.path().join(".env"), dotenv).unwrap();
        let server = server(directory.path());
        let launch = settings.iter().fold(server, |server, (key, value)| server.with(key, value));
        let ended = run("wrong", &launch, &directory).await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert_has(&ended.log, &[named]);
        for (key, value) in settings {
            assert_has(&ended.log, &[&format!("{key}={value} ")]);
        }
        assert!(!ended.log.contains("action: volume | result: success"), "{}", ended.log);
    }
}

#[tokio::test]
async fn an_unknown_option_or_an_unreadable_dotenv_is_refused() {
    let directory = RunDirectory::temporary().unwrap();
    for arguments in [&["server", "serve", "--nonsense"][..], &["client", "--nonsense"]] {
        let ended = run("wrong", &Launch::new(&binary(), arguments), &directory).await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert_has(&ended.log, &["--nonsense"]);
    }
    fs::create_dir(directory.path().join(".env")).unwrap();
    let ended = run("wrong", &server(directory.path()), &directory).await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert_eq!(ended.log.matches("(os error 21)").count(), 1, "{}", ended.log);
}

#[tokio::test]
async fn json_logs_are_json_and_name_the_agency_of_a_batch() {
    let directory = RunDirectory::temporary().unwrap();
    let launch = server(directory.path()).with("LOG_FORMAT", "json");
    let mut process = ChildProcess::spawn("json", &launch, directory.path()).unwrap();
    let is_listen = |line: LogLine<'_>| line.0.contains(r#""action":"listen""#);
    let listening = process.log().wait_for(is_listen).await.unwrap();
    let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    let mut connection = RawConnection::open(address).await.unwrap();
    assert_eq!(connection.ask(&store_rows(1, 1, &[ANA])).await.unwrap(), stored(&[ANA]));
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(0));
    let log = process.log().tail(usize::MAX);
    for line in &log {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["action"].is_string() && line["result"].is_string(), "{line}");
    }
    let stored = r#""action":"apuestas_almacenadas","result":"success","cantidad":1,"agencia":1}"#;
    assert!(log.iter().any(|line| line.ends_with(stored)), "{log:#?}");
}

#[tokio::test]
async fn health_says_whether_an_instance_serves_and_why_not() {
    let mut lottery = Lottery::start(1, 1).await;
    let held = "another instance holds the lock";
    lottery.expect_alarms("server", &["agencia_consultada"], held);
    lottery.allow_alarms("server", &["look"], held);
    let address = lottery.cluster.servers()[0].address();
    lottery.run("healthy", &health(address), 0).await;
    // The system takes its connections, and no process answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let lock = lottery.locked("bets.csv.lock");
    let (busy, mute) = (health(address), health(silent.local_addr().unwrap()));
    tokio::join!(lottery.run("busy", &busy, 1), lottery.run("mute", &mute, 1));
    drop(lock);
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    lottery.run("dead", &health(address), 1).await;
    for (name, reason) in [
        ("busy", "runs and cannot serve: busy another instance"),
        ("mute", "has not answered in 6 s: it is paused, or stuck"),
        ("dead", "connect to "),
    ] {
        lottery.expect_alarms(name, &["health"], reason);
    }
    lottery.end().await;
}

#[tokio::test]
async fn an_instance_that_cannot_serve_yet_accepts_no_connection() {
    let directory = RunDirectory::temporary().unwrap();
    // It reads this last of all, and waits until the other end is written.
    let draw = directory.path().join("draw.json");
    assert!(Command::new("mkfifo").arg(&draw).status().unwrap().success());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let launch = server(directory.path()).with("SERVER_PORT", free.port());
    let mut process = ChildProcess::spawn("starting", &launch, directory.path()).unwrap();
    let descriptors = format!("/proc/{}/fd", process.id().unwrap());
    let has_opened = || {
        let open = fs::read_dir(&descriptors).unwrap().flatten();
        let mut files = open.filter_map(|descriptor| descriptor.path().read_link().ok());
        files.any(|file| file.ends_with("bets.csv"))
    };
    let opening = tokio::time::timeout(LIMIT, async {
        while !has_opened() {
            tokio::task::yield_now().await;
        }
    });
    opening.await.expect("it opens the file");
    let refused = TcpStream::connect(free).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(OpenOptions::new().write(true).open(&draw).unwrap());
    assert_eq!(process.wait(LIMIT).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_volume_is_logged_as_made_if_it_was_made() {
    let directory = RunDirectory::temporary().unwrap();
    let volume = directory.path().join("volume");
    for (name, is_made) in [("first", true), ("second", false)] {
        let starting = ServerProcess::spawn(name, server(&volume), directory.path()).unwrap();
        let mut server = starting.listening().await.unwrap();
        let made = server.log().matching(|line| line.is("volume", "success"));
        assert_eq!(made, usize::from(is_made));
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_message_for_a_port_that_closed_connections_keep_says_to_wait_a_minute() {
    let directory = RunDirectory::temporary().unwrap();
    // Another server: it does not set SO_REUSEADDR, and closes its connections itself.
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    other.listen(1).unwrap();
    let address = other.local_addr().unwrap().as_socket().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    drop(other.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it has closed");
    drop((client, other));
    let launch = server(directory.path()).with("SERVER_PORT", address.port());
    let ended = run("taken", &launch, &directory).await;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let texts = ["SERVER_PORT=", "keep it for up to 60 s: wait a minute", "already in use"];
    assert_has(&ended.log, &texts);
}
