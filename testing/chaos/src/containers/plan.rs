//! What a run in containers consists of, and what goes wrong in it: all follows from the seed.
//!
//! Moments are shares of the bytes that the volume will have, as in the runs of processes.

use std::time::Duration;

use harness::dice::Dice;

/// One run.
#[derive(Debug, Clone)]
pub struct RunPlan {
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
    pub events: Vec<Event>,
}

/// Something that happens when the volume has so many thousandths of its bytes.
#[derive(Debug, Clone)]
pub struct Event {
    /// 0..=1000.
    pub permille: u64,
    /// What happens.
    pub fault: Fault,
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
pub enum Fault {
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
    /// All of it stands still.
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

impl RunPlan {
    /// The run of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (servers, agencies) = (dice.between(2, 4), dice.between(3, 6));
        let batch = dice.between(1, 3);
        let rows = batch * dice.between(13_000, 17_000);
        let is_impatient = dice.chance(35);
        let count = dice.between(10, 16);
        let mut events: Vec<Event> = (0..count)
            .map(|_| {
                let permille = if dice.chance(10) { 1_000 } else { dice.between(10, 990) };
                Event { permille, fault: fault(&mut dice, is_impatient) }
            })
            .collect();
        if dice.chance(60) {
            let fault = Fault::MissDraw { place: dice.between(0, 9) as usize };
            events.push(Event { permille: dice.between(900, 990), fault });
        }
        events.sort_by_key(|event| event.permille);
        Self { seed, servers, agencies, rows, batch, is_impatient, events }
    }
}

fn down(dice: &mut Dice) -> Duration {
    if dice.chance(60) { dice.millis(0, 300) } else { dice.millis(300, 6_000) }
}

/// Sometimes longer than locks are waited for.
fn pause(dice: &mut Dice) -> Duration {
    if dice.chance(65) { dice.millis(100, 3_000) } else { dice.millis(5_500, 8_000) }
}

/// Sometimes longer than an impatient client tries.
fn away(dice: &mut Dice, is_long: bool) -> Duration {
    match dice.between(1, 100) {
        1..=50 if is_long => dice.millis(22_000, 25_000),
        1..=50 => dice.millis(100, 2_000),
        _ => dice.millis(2_000, 12_000),
    }
}

fn meanwhile(dice: &mut Dice) -> Meanwhile {
    let all = [(70, Meanwhile::Nothing), (15, Meanwhile::Killed), (15, Meanwhile::Stopped)];
    dice.weighted(&all).unwrap_or(Meanwhile::Nothing)
}

fn fault(dice: &mut Dice, is_impatient: bool) -> Fault {
    let (server, client) = (dice.between(0, 9) as usize, dice.between(0, 9) as usize);
    let [server_place, other] = [server, server + 1];
    let (server, client) = (Who::Server(server), Who::Client(client));
    match dice.between(1, 100) {
        1..=15 => Fault::Kill { who: server, down: down(dice) },
        16..=22 => Fault::Kill { who: client, down: down(dice) },
        23..=28 => Fault::Stop { who: server, down: down(dice) },
        29..=32 => Fault::Stop { who: client, down: down(dice) },
        33..=41 => {
            let other = if dice.chance(60) { Who::Server(other) } else { client };
            Fault::Swap { server: server_place, other }
        }
        42..=56 => Fault::Pause { who: server, pause: pause(dice), holding: dice.chance(70) },
        57..=61 => Fault::Pause { who: client, pause: pause(dice), holding: false },
        62..=73 => {
            Fault::CutOff { who: server, away: away(dice, false), meanwhile: meanwhile(dice) }
        }
        74..=85 => {
            let away = away(dice, is_impatient);
            Fault::CutOff { who: client, away, meanwhile: meanwhile(dice) }
        }
        86..=93 => Fault::Add,
        _ => Fault::Remove { place: server_place },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::fingerprint;

    #[test]
    fn a_seed_is_the_run_that_it_always_was() {
        // It changes with whatever is decided differently, and then old seeds are other runs.
        assert_eq!(fingerprint((0..200).map(RunPlan::of)), "17597b9ba7ec23ee");
    }

    #[test]
    fn a_seed_is_the_same_run_over_and_over_and_within_its_bounds() {
        for seed in 0..200 {
            let plan = RunPlan::of(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", RunPlan::of(seed)));
            assert!((2..=4).contains(&plan.servers) && (3..=6).contains(&plan.agencies));
            assert!(plan.events.is_sorted_by_key(|event| event.permille));
        }
    }
}
