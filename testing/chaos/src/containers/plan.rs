//! What a run in containers consists of, and what goes wrong in it: all follows from the seed.
//!
//! Moments are shares of the bytes that the volume will have, as in the runs of processes.

use std::time::Duration;

use harness::rng::Rng;

/// One run.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// Where all of it comes from.
    pub seed: u64,
    /// How many servers there are at first, 2 to 4.
    pub servers: u64,
    /// How many agencies, 3 to 6.
    pub agencies: u64,
    /// How many rows the largest agencies have.
    pub rows: u64,
    /// How many bets a client sends in a packet: few, for the run to last.
    pub batch: u64,
    /// Whether clients give up soon, and are cut off for longer than that.
    pub is_impatient: bool,
    /// What happens, in the order of its moments.
    pub events: Vec<ContainerEvent>,
}

/// Something that happens when the volume has so many thousandths of its bytes.
#[derive(Debug, Clone)]
pub struct ContainerEvent {
    /// 0..=1000.
    pub permille: u64,
    /// What happens.
    pub fault: ContainerFault,
}

/// To whom it happens: one of those who are there, by its place modulo their count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A server.
    Server(usize),
    /// A client.
    Client(usize),
}

/// What happens to a container that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// SIGKILL, and a start without a network.
    Killed,
    /// SIGTERM, and a start without a network.
    Stopped,
}

/// What happens to containers.
#[derive(Debug, Clone)]
pub enum ContainerFault {
    /// SIGKILL, and a start.
    Kill {
        /// To whom.
        who: Who,
        /// How long it is away.
        down: Duration,
    },
    /// SIGTERM, and a start.
    Stop {
        /// To whom.
        who: Who,
        /// How long it is away.
        down: Duration,
    },
    /// SIGKILL of two that are started in the other order, for one to get the other's address.
    Swap {
        /// A server.
        server: usize,
        /// The other one.
        other: Who,
    },
    /// All of it is frozen.
    Pause {
        /// To whom.
        who: Who,
        /// How long.
        pause: Duration,
        /// Whether it is a server and to hold a lock, if it can be caught at that.
        holding: bool,
    },
    /// It has no network.
    CutOff {
        /// To whom.
        who: Who,
        /// How long.
        away: Duration,
        /// What else happens to it before it has one again.
        meanwhile: Meanwhile,
    },
    /// A server has no network until the draw has been held, and it knows of that.
    MissDraw {
        /// Which one.
        place: usize,
    },
    /// One server more.
    Add,
    /// One server is stopped for good, if two are left.
    Remove {
        /// Which one.
        place: usize,
    },
}

impl ContainerPlan {
    /// The run of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (servers, agencies) = (rng.between(2, 4), rng.between(3, 6));
        let batch = rng.between(1, 3);
        let rows = batch * rng.between(13_000, 17_000);
        let is_impatient = rng.chance(35);
        let count = rng.between(10, 16);
        let mut events: Vec<ContainerEvent> = (0..count)
            .map(|_| {
                let permille = if rng.chance(10) { 1_000 } else { rng.between(10, 990) };
                ContainerEvent { permille, fault: fault(&mut rng, is_impatient) }
            })
            .collect();
        if rng.chance(60) {
            let fault = ContainerFault::MissDraw { place: rng.between(0, 9) as usize };
            events.push(ContainerEvent { permille: rng.between(900, 990), fault });
        }
        events.sort_by_key(|event| event.permille);
        Self { seed, servers, agencies, rows, batch, is_impatient, events }
    }
}

fn down(rng: &mut Rng) -> Duration {
    if rng.chance(60) { rng.millis(0, 300) } else { rng.millis(300, 6_000) }
}

/// Sometimes longer than locks are waited for.
fn pause(rng: &mut Rng) -> Duration {
    if rng.chance(65) { rng.millis(100, 3_000) } else { rng.millis(5_500, 8_000) }
}

/// Sometimes longer than an impatient client tries.
fn away(rng: &mut Rng, is_long: bool) -> Duration {
    match rng.between(1, 100) {
        1..=50 if is_long => rng.millis(22_000, 25_000),
        1..=50 => rng.millis(100, 2_000),
        _ => rng.millis(2_000, 12_000),
    }
}

fn meanwhile(rng: &mut Rng) -> Meanwhile {
    let all = [(70, Meanwhile::Nothing), (15, Meanwhile::Killed), (15, Meanwhile::Stopped)];
    rng.weighted(&all).unwrap_or(Meanwhile::Nothing)
}

fn fault(rng: &mut Rng, is_impatient: bool) -> ContainerFault {
    let (server, client) = (rng.between(0, 9) as usize, rng.between(0, 9) as usize);
    let [server_place, other] = [server, server + 1];
    let (server, client) = (Who::Server(server), Who::Client(client));
    match rng.between(1, 100) {
        1..=15 => ContainerFault::Kill { who: server, down: down(rng) },
        16..=22 => ContainerFault::Kill { who: client, down: down(rng) },
        23..=28 => ContainerFault::Stop { who: server, down: down(rng) },
        29..=32 => ContainerFault::Stop { who: client, down: down(rng) },
        33..=41 => {
            let other = if rng.chance(60) { Who::Server(other) } else { client };
            ContainerFault::Swap { server: server_place, other }
        }
        42..=56 => {
            ContainerFault::Pause { who: server, pause: pause(rng), holding: rng.chance(70) }
        }
        57..=61 => ContainerFault::Pause { who: client, pause: pause(rng), holding: false },
        62..=73 => ContainerFault::CutOff {
            who: server,
            away: away(rng, false),
            meanwhile: meanwhile(rng),
        },
        74..=85 => {
            let away = away(rng, is_impatient);
            ContainerFault::CutOff { who: client, away, meanwhile: meanwhile(rng) }
        }
        86..=93 => ContainerFault::Add,
        _ => ContainerFault::Remove { place: server_place },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fingerprint;

    #[test]
    fn a_seed_is_the_run_that_it_always_was() {
        // It changes with whatever is decided differently, and then old seeds are other runs.
        assert_eq!(fingerprint((0..200).map(ContainerPlan::of)), "64a506f6c8fb238a");
    }

    #[test]
    fn a_seed_is_the_same_run_over_and_over_and_within_its_bounds() {
        for seed in 0..200 {
            let plan = ContainerPlan::of(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", ContainerPlan::of(seed)));
            assert!((2..=4).contains(&plan.servers) && (3..=6).contains(&plan.agencies));
            assert!(plan.events.is_sorted_by_key(|event| event.permille));
        }
    }
}
