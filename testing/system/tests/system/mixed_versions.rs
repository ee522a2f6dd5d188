//! Instances of another version and of this one over one volume, as during an upgrade.

use std::path::PathBuf;

use harness::process::Launch;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;

use crate::common::Setup;

/// The variable that names the server of the other version.
const OTHER_SERVER: &str = "OTHER_SERVER";

/// How often an instance of each version is killed.
const ROUNDS: usize = 10;

const ROWS: u32 = 20_000;

/// They are killed in turn while clients of this version store through all of them.
#[tokio::test]
#[ignore = "scripts/mixed-versions.sh builds the other version and runs this"]
async fn killed_instances_of_two_versions_store_every_row_once_and_hold_one_draw() {
    let other = std::env::var_os(OTHER_SERVER).expect("OTHER_SERVER names a program");
    let mut lottery = Setup::with_rows(2, 4, ROWS).start().await;
    lottery.allow_alarms("", &["mend_log"], "a group whose writer died");
    lottery.allow_alarms("client", &["connect", "connection"], "next: another server");
    let udp_port = UdpPort::take().unwrap();
    let mut others = Vec::new();
    for place in 3..=4 {
        let like_ours = lottery.cluster.plan().server(place, udp_port.number().unwrap());
        let mut launch = Launch::new(&PathBuf::from(&other), &[]);
        launch.settings = like_ours.settings;
        let name = format!("other-{place}");
        let starting = ServerProcess::spawn(&name, launch, lottery.directory.path()).unwrap();
        others.push(starting.listening().await.unwrap());
    }
    let addresses = others.iter().map(|server| server.address().to_string());
    let addresses = [lottery.cluster.addresses()].into_iter().chain(addresses);
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let spawn = |agency| {
        let launch = lottery.client(agency).with("CLI_SERVER_ADDRESS", &addresses);
        lottery.cluster.spawn_client(agency, launch.with("CLI_BATCH_SIZE", 10)).unwrap()
    };
    let mut clients: Vec<_> = (1..=4).map(spawn).collect();
    for round in 0..ROUNDS {
        let other = &mut others[round % 2];
        other.kill().await.unwrap();
        other.restart().await.unwrap();
        lottery.kill_and_restart(round % 2).await;
    }
    let is_middle = lottery.stored().lines().count() < 4 * ROWS as usize;
    lottery.finish_clients(&mut clients).await;
    for mut other in others {
        other.stop().await.unwrap();
    }
    lottery.end_right(&mut []).await;
    assert!(is_middle, "all rows were stored before the last kill: set more ROWS");
}
