//! What a run consists of, and what goes wrong in it: all of it follows from the seed.
//!
//! Moments are shares of the bytes that the volume will have, not times, so that a seed means the
//! same on a slow machine.

use super::fault::{Fault, batch};
use crate::processes::network::connection_faults::ConnectionFaults;
use crate::processes::network::datagrams::DatagramFaults;
use harness::rng::Rng;

/// The part of a run that decides by this generator what becomes of datagrams.
pub const DATAGRAMS_PART: u64 = 900;
/// The same, for what somebody else sends.
pub const INTRUDER_PART: u64 = 901;
/// The same, for the first proxy; the others count on from it.
pub const PROXY_PART: u64 = 1_000;

/// One run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Where all of it comes from.
    pub seed: u64,
    /// How many rows the largest agencies have.
    pub rows: u64,
    /// How many servers, 2 to 4.
    pub servers: usize,
    /// The agencies, 2 to 6.
    pub agencies: Vec<AgencyPlan>,
    /// What the proxies do to connections.
    pub connection_faults: ConnectionFaults,
    /// What becomes of the servers' datagrams.
    pub datagrams: DatagramFaults,
    /// Whether the volume is on a small disk, which can be full.
    pub has_small_disk: bool,
    /// What happens, in the order of its moments.
    pub events: Vec<Event>,
}

/// One agency.
#[derive(Debug, Clone, Copy)]
pub struct AgencyPlan {
    /// How many bets its client sends in a packet.
    pub batch: u64,
    /// Addresses in its list at which nobody listens.
    pub dead_addresses: u64,
    /// Whether its list has an address that takes connections and never answers.
    pub has_mute_address: bool,
    /// Whether it knows the servers by their name, and by no address.
    pub is_by_name: bool,
}

/// Something that happens when the volume has so many thousandths of its bytes.
#[derive(Debug, Clone)]
pub struct Event {
    /// 0..=1000.
    pub permille: u64,
    /// What happens.
    pub fault: Fault,
}

impl RunPlan {
    /// The run of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (servers, agencies) = (rng.between(2, 4), rng.between(2, 6));
        let rows = *[300, 700, 1_500, 3_000].get(rng.between(0, 3) as usize).unwrap_or(&300);
        let by_name = if rng.chance(50) { 70 } else { 0 };
        let agency = |rng: &mut Rng| AgencyPlan {
            batch: batch(rng),
            dead_addresses: if rng.chance(25) { rng.between(1, 3) } else { 0 },
            has_mute_address: rng.chance(4),
            is_by_name: rng.chance(by_name),
        };
        let agencies: Vec<_> = (0..agencies).map(|_| agency(&mut rng)).collect();
        let (connection_faults, datagrams) =
            (ConnectionFaults::of(&mut rng), DatagramFaults::of(&mut rng));
        let has_small_disk = rng.chance(30);
        let mut faults: Vec<Fault> = (0..rng.between(2, 9))
            .map(|_| Fault::any(&mut rng, servers, agencies.len() as u64))
            .collect();
        if has_small_disk {
            faults.extend((0..rng.between(1, 2)).map(|_| Fault::full_disk(&mut rng)));
        }
        faults.extend(rng.chance(12).then(|| Fault::long_hold(&mut rng, servers)));
        let event = |fault| {
            let permille = if rng.chance(20) { 1_000 } else { rng.between(0, 990) };
            Event { permille, fault }
        };
        let mut events: Vec<_> = faults.into_iter().map(event).collect();
        events.sort_by_key(|event| event.permille);
        let servers = servers as usize;
        Self { seed, rows, servers, agencies, connection_faults, datagrams, has_small_disk, events }
    }

    /// Whether a server comes to be at another address.
    #[must_use]
    pub fn has_moves(&self) -> bool {
        self.events.iter().any(|event| matches!(event.fault, Fault::MoveServer { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fingerprint;

    #[test]
    fn a_seed_is_the_run_that_it_always_was() {
        // It changes with whatever is decided differently, and then old seeds are other runs.
        assert_eq!(fingerprint((0..200).map(RunPlan::of)), "24943adffcbfb848");
    }

    #[test]
    fn a_seed_is_the_same_run_over_and_over_and_within_its_bounds() {
        for seed in 0..200 {
            let plan = RunPlan::of(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", RunPlan::of(seed)));
            assert!((2..=4).contains(&plan.servers) && (2..=6).contains(&plan.agencies.len()));
            assert!(plan.events.is_sorted_by_key(|event| event.permille));
        }
    }

    #[test]
    fn every_kind_of_fault_comes_within_a_few_runs() {
        let faults = (0..60).flat_map(|seed| RunPlan::of(seed).events);
        let mut kinds: Vec<_> = faults.map(|event| std::mem::discriminant(&event.fault)).collect();
        let mut distinct = Vec::new();
        kinds.retain(|kind| {
            !distinct.contains(kind) && {
                distinct.push(*kind);
                true
            }
        });
        assert_eq!(distinct.len(), 11);
    }
}
