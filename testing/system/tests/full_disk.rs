//! A volume whose disk is full: what is answered 0 is stored whole, all else is not there at all.
//!
//! Needs the right to mount a small file system; where there is none, it says so and passes, or
//! fails with CI_REQUIRES_FULL_DISK=1. The server's own tests fill a disk that they make up.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{LIMIT, Setup, digest};
use harness::process::Launch;
use tokio::time::timeout;

const DISK_BYTES: usize = 512 * 1024;

/// A small file system in memory, unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    /// Also when servers still have files open there.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_answered_and_nothing_is_stored_half() {
    let setup = Setup::new(2, 1);
    let Some(disk) = SmallDisk::mount(setup.volume.path()) else {
        let is_required = std::env::var("CI_REQUIRES_FULL_DISK").is_ok_and(|value| value == "1");
        assert!(!is_required, "CI_REQUIRES_FULL_DISK=1, and no small file system can be mounted");
        println!("skipped: no right to mount a small file system");
        return;
    };
    let mut lottery = setup.start().await;
    lottery.expect_alarm("server", "apuestas_almacenadas", "No space left on device");
    lottery.expect_alarm("server", "store", "told to try again: make room on the volume's file");
    // A row on the wire is about 100 bytes, a batch is several pages of the file system.
    let name = "n".repeat(60);
    let rows: Vec<String> =
        (0..8_000).map(|row| format!("{name};Paz;{row};2000-01-01;7")).collect();
    let batch = 150;
    let mut stored = 0;
    let refused = loop {
        let bets = rows[stored..stored + batch].join(":");
        let packet = format!("StoreRows:1;{}:{bets}", stored + 1);
        let answer = lottery.ask(stored / batch % 2, &packet).await;
        if !answer.starts_with("StoreRowsResponse:0;") {
            break answer;
        }
        stored += batch;
    };
    let wire: Vec<&str> = rows[..stored].iter().map(String::as_str).collect();
    let place = stored / batch % 2;
    let state = format!("{stored};{}", digest(&wire));
    assert!(refused.starts_with(&format!("StoreRowsResponse:1;{state};")), "{refused}");
    let next = rows[stored..stored + batch].join(":");
    let next = format!("StoreRows:1;{}:{next}", stored + 1);
    for _ in 0..3 {
        assert_eq!(lottery.ask(place, &next).await, refused);
    }
    for place in 0..2 {
        let status = format!("AgencyStatusResponse:{state};open");
        assert_eq!(lottery.ask(place, "AgencyStatus:1").await, status);
    }
    let address = lottery.cluster.servers()[place].address();
    let health = Launch::new(&common::binary(), &["server", "health"])
        .with("SERVER_IP", address.ip())
        .with("SERVER_PORT", address.port());
    let healthy = common::run("health", &health, &lottery.directory).await;
    assert_eq!(healthy.code, Some(0), "it tells what is stored: {}", healthy.log);
    assert_eq!(lottery.stored().lines().count(), stored);
    assert!(lottery.stored().ends_with(&format!(",{},2000-01-01,7\n", stored - 1)));
    // Room again: the same packet is stored, by the same instance.
    let more = format!("remount,size={}", 4 * DISK_BYTES);
    let room = Command::new("mount").args(["-o", &more]).arg(lottery.volume.path()).status();
    assert!(room.unwrap().success());
    let wire: Vec<&str> = rows[..stored + batch].iter().map(String::as_str).collect();
    let answer = format!("StoreRowsResponse:0;{};{}", stored + batch, digest(&wire));
    assert_eq!(lottery.ask(place, &next).await, answer);
    let log = lottery.cluster.servers()[place].log();
    let told = timeout(LIMIT, log.wait_for(|line| line.is("store", "success"))).await;
    told.unwrap().expect("that there is room again is told, too");
    let told = |result| {
        let lines =
            lottery.cluster.servers().iter().map(harness::server_process::ServerProcess::log);
        lines.map(|log| log.matching(|line| line.is("store", result))).sum::<usize>()
    };
    assert_eq!((told("fail"), told("success")), (1, 1), "once, however many batches came");
    assert_eq!(
        lottery.ask(0, &format!("AgencyClose:1;{}", stored + batch)).await,
        "AgencyCloseResponse:0"
    );
    assert_eq!(lottery.ask(1, "WinnersRequest:1").await, "WinnersResponse:");
    assert!(fs::metadata(lottery.volume.draw()).unwrap().len() > 0);
    let directory = lottery.end().await;
    // What is mounted cannot be removed.
    drop(disk);
    drop(directory);
}
