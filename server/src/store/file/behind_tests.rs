//! An instance that is far behind: it starts on a long log, or was away for long.

use std::path::Path;
use std::time::{Duration, Instant};

use journal::disk::simulated::Machine;
use journal::limits::BEHIND_BYTES_MAX;
use protocol::{AgencyId, BetNumber};

use super::settings::StoreSettings;
use super::volume::Volume;

fn settings() -> StoreSettings {
    StoreSettings {
        volume: "/volume".into(),
        agencies_amount: 1,
        winning_number: BetNumber::new(7).unwrap(),
        instance: "simulated".into(),
        lock_timeout: Duration::from_secs(5),
    }
}

#[test]
fn nobody_waits_for_one_that_reads_a_long_log() {
    let machine = Machine::default();
    let row = format!("1,{},{},1,2000-01-01,8\n", "a".repeat(100), "b".repeat(100));
    let rows = BEHIND_BYTES_MAX as usize / row.len() + 1;
    machine.put(Path::new("/volume/bets.csv"), row.repeat(rows).as_bytes());
    let mut volume = Volume::open(machine.process(), settings()).unwrap();
    let before = machine.read_under_locks();
    let agency = AgencyId::new(1).unwrap();
    let status = volume.status(&[agency], Instant::now() + Duration::from_secs(5)).unwrap();
    assert_eq!(status[0].stored.rows, rows as u64);
    let read = machine.read_under_locks() - before;
    assert!(read < 1024 * 1024, "{read} bytes were read while others waited for a lock");
}
