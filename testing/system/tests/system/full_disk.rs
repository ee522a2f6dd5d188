//! A volume whose disk is full: what is answered 0 is stored as a whole, all else is not there.
//!
//! It needs the right to mount a small file system. Without that right it says so and passes, or
//! fails with CI_REQUIRES_FULL_DISK=1. The server's own tests fill a simulated disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::server_process::ServerProcess;
use tokio::time::timeout;

use crate::common::{
    CLOSED, LIMIT, Lottery, Setup, assert_starts, health, rows_response, store_rows, stored,
};

const DISK_BYTES: usize = 512 * 1024;

/// How many bets a batch has. It is several pages of the file system.
const BATCH: usize = 150;

/// A small file system in memory, unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }

    fn enlarge(&self) {
        let more = format!("remount,size={}", 4 * DISK_BYTES);
        let mount = Command::new("mount").args(["-o", &more]).arg(&self.0).status();
        assert!(mount.unwrap().success());
    }
}

impl Drop for SmallDisk {
    /// Also when servers still have files open there.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// How often any instance has logged the outage alert with this result.
fn alerts(lottery: &Lottery, result: &str) -> usize {
    let logs = lottery.cluster.servers().iter().map(ServerProcess::log);
    logs.map(|log| log.matching(|line| line.is("store", result))).sum()
}

#[tokio::test]
async fn a_full_disk_is_answered_and_nothing_is_stored_half() {
    let setup = Setup::new(2, 1);
    let Some(disk) = SmallDisk::mount(setup.plan.volume.path()) else {
        let is_required = std::env::var("CI_REQUIRES_FULL_DISK").is_ok_and(|value| value == "1");
        assert!(!is_required, "CI_REQUIRES_FULL_DISK=1, and no small file system can be mounted");
        println!("skipped: no right to mount a small file system");
        return;
    };
    let mut lottery = setup.start().await;
    lottery.expect_alarms("server", &["apuestas_almacenadas"], "No space left on device");
    let alert = "told to try again: make room on the volume's file";
    lottery.expect_alarms("server", &["store"], alert);
    let name = "n".repeat(60);
    let bets: Vec<String> =
        (0..8_000).map(|place| format!("{name};Paz;{place};2000-01-01;7")).collect();
    let bets: Vec<&str> = bets.iter().map(String::as_str).collect();

    // The two instances store batch by batch, in turn, until one of them finds no space.
    let mut count = 0;
    let (full, packet, refused) = loop {
        let place = count / BATCH % 2;
        let packet = store_rows(1, count + 1, &bets[count..count + BATCH]);
        let answer = lottery.ask(place, &packet).await;
        if answer != stored(&bets[..count + BATCH]) {
            break (place, packet, answer);
        }
        count += BATCH;
    };

    // It answers that it could not, every time, and can still say what is stored.
    assert_starts(&refused, &rows_response(1, &bets[..count], ""));
    for _ in 0..3 {
        assert_eq!(lottery.ask(full, &packet).await, refused);
    }
    lottery.assert_status(1, &bets[..count], "open").await;
    let address = lottery.cluster.servers()[full].address();
    lottery.run("health", &health(address), 0).await;

    // The file ends with the last batch that was acknowledged.
    assert_eq!(lottery.stored().lines().count(), count);
    assert!(lottery.stored().ends_with(&format!(",{},2000-01-01,7\n", count - 1)));

    // When there is room again, the same packet is stored by the same instance.
    disk.enlarge();
    count += BATCH;
    assert_eq!(lottery.ask(full, &packet).await, stored(&bets[..count]));

    // The outage is logged once, and its end once, however many batches failed.
    let log = lottery.cluster.servers()[full].log();
    let works_again = timeout(LIMIT, log.wait_for(|line| line.is("store", "success"))).await;
    works_again.unwrap().expect("the end of the outage is logged");
    assert_eq!((alerts(&lottery, "fail"), alerts(&lottery, "success")), (1, 1));

    // The day goes on to its draw.
    assert_eq!(lottery.ask(0, &format!("AgencyClose:1;{count}")).await, CLOSED);
    lottery.assert_winners(&[""]).await;
    assert!(lottery.volume.draw().metadata().unwrap().len() > 0);
    let directory = lottery.end().await;
    // A directory on which a file system is mounted cannot be removed.
    drop(disk);
    drop(directory);
}
