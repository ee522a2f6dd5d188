//! How the program starts, and what it says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};

/// An instance on any free port, not started yet.
fn server(volume: &Path) -> Command {
    let mut server = Command::new(env!("CARGO_BIN_EXE_server"));
    server
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("SERVER_IP", "127.0.0.1")
        .env("SERVER_PORT", "0")
        .env("UDP_BROADCAST_IP", "127.255.255.255")
        .env("SHARED_VOLUME", volume)
        .stderr(Stdio::piped());
    server
}

/// What an instance logs until it listens or ends.
fn log_of_start(volume: &Path) -> String {
    let mut server = server(volume).spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut log = String::new();
    for line in lines {
        log.extend([line.as_str(), "\n"]);
        if line.contains("action: listen | result: success") {
            server.kill().unwrap();
            break;
        }
    }
    server.wait().unwrap();
    log
}

/// A process that ends with its test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // An error is that it has ended.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Waits until the process has a file of this name open.
fn wait_until_open(process: &mut Child, name: &str) {
    let descriptors = format!("/proc/{}/fd", process.id());
    let is_open = || {
        let open = std::fs::read_dir(&descriptors).unwrap().flatten();
        let mut files = open.filter_map(|descriptor| descriptor.path().read_link().ok());
        files.any(|file| file.ends_with(name))
    };
    while !is_open() {
        assert_eq!(process.try_wait().unwrap(), None, "it ended before");
        std::thread::yield_now();
    }
}

#[test]
fn who_cannot_serve_accepts_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    // It reads this last of all, and waits for whoever writes it.
    let draw = directory.path().join("draw.json");
    assert!(Command::new("mkfifo").arg(&draw).status().unwrap().success());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = server(directory.path());
    let server = server.env("SERVER_PORT", free.port().to_string()).spawn().unwrap();
    let mut server = Ended(server);
    wait_until_open(&mut server.0, "bets.csv");
    let refused = TcpStream::connect(free).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(OpenOptions::new().write(true).open(&draw).unwrap());
    assert_eq!(server.0.wait().unwrap().code(), Some(1));
}

/// What an instance logs that ends before it starts, in a directory with this `.env`.
fn refused_for(dotenv: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), dotenv).unwrap();
    refused_in(directory.path())
}

fn refused_in(directory: &Path) -> String {
    let mut server = server(directory);
    let ended = server.current_dir(directory).env_remove("AGENCIES_AMOUNT").output();
    let ended = ended.unwrap();
    assert_eq!(ended.status.code(), Some(2));
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn what_is_wrong_in_dotenv_is_named_with_its_line() {
    let log = refused_for("# of this machine\nSERVER_PORT=1\nAGENCIES_AMOUNT=none\n");
    assert!(log.contains("AGENCIES_AMOUNT=none (from line 3 of .env): must be"), "{log}");
    let log = refused_for("AGENCIES_AMOUNT=2\nSHARED_VOLUME=my volume\n");
    assert!(log.contains("line 2 of .env: must be NAME=value"), "{log}");
}

#[test]
fn that_dotenv_cannot_be_read_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(".env")).unwrap();
    let log = refused_in(directory.path());
    assert_eq!(log.matches("(os error 21)").count(), 1, "{log}");
}

#[test]
fn a_volume_is_called_made_once_it_is_made() {
    const MADE: &str = "action: volume | result: success";
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    let log = log_of_start(&volume);
    assert!(log.contains(MADE), "{log}");
    let log = log_of_start(&volume);
    assert!(!log.contains(MADE), "it was there: {log}");
    std::fs::write(directory.path().join("file"), "").unwrap();
    let log = log_of_start(&directory.path().join("file/volume"));
    assert!(log.contains("CRITICAL") && !log.contains(MADE), "none can be made: {log}");
}

#[test]
fn the_json_form_tells_the_agency_of_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = server(directory.path());
    let mut server = Ended(server.env("LOG_FORMAT", "json").spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = lines.find(|line| line.contains(r#""action":"listen""#)).unwrap();
    let (_, address) = listening.split_once(r#""address":""#).unwrap();
    let mut client = TcpStream::connect(address.split('"').next().unwrap()).unwrap();
    client.write_all(b"StoreRows:1;1:Ana;Paz;1;2000-01-01;7574\n").unwrap();
    let stored = lines.find(|line| line.contains("apuestas_almacenadas")).unwrap();
    let wanted = r#""action":"apuestas_almacenadas","result":"success","cantidad":1,"agencia":1}"#;
    assert!(stored.ends_with(wanted), "{stored}");
}

#[test]
fn the_message_for_a_port_that_closed_connections_keep_says_to_wait_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    // Another server: it does not set SO_REUSEADDR, and closes its connections itself.
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    other.listen(1).unwrap();
    let address = other.local_addr().unwrap().as_socket().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    drop(other.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it has closed");
    drop((client, other));
    let mut server = server(directory.path());
    let ended = server.env("SERVER_PORT", address.port().to_string()).output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{log}");
    for text in ["SERVER_PORT=", "keep it for up to 60 s: wait a minute", "already in use"] {
        assert!(log.contains(text), "{text:?} is not in {log}");
    }
}
