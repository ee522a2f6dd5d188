//! How the program starts, and what it says of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What an instance logs until it listens or ends.
fn log_of_start(volume: &Path) -> String {
    let mut server = Command::new(env!("CARGO_BIN_EXE_server"))
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("SERVER_IP", "127.0.0.1")
        .env("SERVER_PORT", "0")
        .env("UDP_BROADCAST_IP", "127.255.255.255")
        .env("SHARED_VOLUME", volume)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
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
