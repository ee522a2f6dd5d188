//! What a run consists of, and what goes wrong in it: all of it follows from the seed.
//!
//! Moments are shares of the bytes that the volume will have, not times, so that a seed means the
//! same on a slow machine.

use crate::fault::{Fault, FaultChooser, Kind};
use crate::network_faults::{ConnectionFaults, DatagramFaults};
use harness::rng::Rng;

/// Each part of a run that takes decisions of its own has a generator: datagrams, the intruder,
/// the proxies (one each, counted on from the first) and the agencies (the same).
pub const DATAGRAMS_PART: u64 = 900;
/// See [`DATAGRAMS_PART`].
pub const INTRUDER_PART: u64 = 901;
/// See [`DATAGRAMS_PART`].
pub const PROXY_PART: u64 = 1_000;
/// See [`DATAGRAMS_PART`].
pub const AGENCY_PART: u64 = 2_000;

/// One run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// What all of it follows from.
    pub seed: u64,
    /// How many rows the largest agencies have.
    pub rows: u64,
    /// How many servers there are at first, 2 to 4.
    pub servers: usize,
    /// The agencies, 2 to 6.
    pub agencies: Vec<AgencyPlan>,
    /// Whether clients give up soon, and are cut off for longer than that.
    pub is_impatient: bool,
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
    /// How many addresses in its list have no listener.
    pub dead_addresses: u64,
    /// Whether its list has an address that accepts connections and never answers.
    pub has_mute_address: bool,
    /// Whether it knows the servers by their name, and by no address.
    pub is_by_name: bool,
}

/// A fault that happens when the volume has so many thousandths of its bytes.
#[derive(Debug, Clone)]
pub struct Event {
    /// 0..=1000.
    pub permille: u64,
    /// What happens.
    pub fault: Fault,
}

impl RunPlan {
    /// The run of `seed` among processes or containers.
    #[must_use]
    pub fn of(seed: u64, kind: Kind) -> Self {
        match kind {
            Kind::Processes => Self::of_processes(seed),
            Kind::Containers => Self::of_containers(seed),
        }
    }

    fn of_processes(seed: u64) -> Self {
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
        let count = rng.between(2, 9);
        let mut chooser = FaultChooser { rng, kind: Kind::Processes, servers, is_impatient: false };
        let mut faults: Vec<Fault> = (0..count).map(|_| Fault::any(&mut chooser)).collect();
        if has_small_disk {
            faults.extend((0..chooser.rng.between(1, 2)).map(|_| Fault::full_disk(&mut chooser)));
        }
        if chooser.rng.chance(12) {
            faults.push(Fault::long_hold(&mut chooser));
        }
        let mut rng = chooser.rng;
        let event = |fault| {
            let permille = if rng.chance(20) { 1_000 } else { rng.between(0, 990) };
            Event { permille, fault }
        };
        Self {
            seed,
            rows,
            servers: servers as usize,
            agencies,
            is_impatient: false,
            connection_faults,
            datagrams,
            has_small_disk,
            events: in_order(faults.into_iter().map(event).collect()),
        }
    }

    /// Small packets, for the run to last.
    fn of_containers(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (servers, agencies) = (rng.between(2, 4), rng.between(3, 6));
        let batch = rng.between(1, 3);
        let agency =
            AgencyPlan { batch, dead_addresses: 0, has_mute_address: false, is_by_name: true };
        let rows = batch * rng.between(13_000, 17_000);
        let is_impatient = rng.chance(35);
        let count = rng.between(10, 16);
        let mut chooser = FaultChooser { rng, kind: Kind::Containers, servers, is_impatient };
        let mut events: Vec<Event> = (0..count)
            .map(|_| {
                let rng = &mut chooser.rng;
                let permille = if rng.chance(10) { 1_000 } else { rng.between(10, 990) };
                Event { permille, fault: Fault::any(&mut chooser) }
            })
            .collect();
        if chooser.rng.chance(60) {
            let fault = Fault::MissDraw { server: chooser.server() };
            events.push(Event { permille: chooser.rng.between(900, 990), fault });
        }
        Self {
            seed,
            rows,
            servers: servers as usize,
            agencies: vec![agency; agencies as usize],
            is_impatient,
            connection_faults: ConnectionFaults::default(),
            datagrams: DatagramFaults::default(),
            has_small_disk: false,
            events: in_order(events),
        }
    }

    /// Whether a server comes to be at another address.
    #[must_use]
    pub fn has_moves(&self) -> bool {
        self.events.iter().any(|event| matches!(event.fault, Fault::Move { .. }))
    }
}

fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.permille);
    events
}

/// How many bets a client sends in a packet.
pub fn batch(rng: &mut Rng) -> u64 {
    let ranges = [(1, 5), (5, 30), (30, 120), (100, 1_000)];
    let (least, most) = *ranges.get(rng.between(0, 3) as usize).unwrap_or(&(1, 5));
    rng.between(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_run_on_every_machine_and_within_its_bounds() {
        // A fingerprint changes with every change of the decisions: old seeds are other runs then.
        for (kind, agencies, fingerprint) in [
            (Kind::Processes, 2..=6, "56ce805c1778f441"),
            (Kind::Containers, 3..=6, "57dda4f4776f54cb"),
        ] {
            let mut text = String::new();
            for plan in (0..200).map(|seed| RunPlan::of(seed, kind)) {
                assert!((2..=4).contains(&plan.servers) && agencies.contains(&plan.agencies.len()));
                assert!(plan.events.is_sorted_by_key(|event| event.permille));
                text += &format!("{plan:?}\n");
            }
            let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
            assert_eq!(hash, fingerprint, "{kind:?}");
        }
    }

    #[test]
    fn every_kind_of_fault_comes_within_a_few_runs() {
        for (kind, kinds) in [(Kind::Processes, 9), (Kind::Containers, 8)] {
            let faults = (0..60).flat_map(|seed| RunPlan::of(seed, kind).events);
            let name =
                |event: Event| format!("{:?}", event.fault).split(' ').next().map(String::from);
            let distinct: std::collections::BTreeSet<_> = faults.map(name).collect();
            assert_eq!(distinct.len(), kinds, "{distinct:?}");
        }
    }
}
