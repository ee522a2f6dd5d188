//! What a run consists of, and what goes wrong in it: all of it follows from the seed.
//!
//! Moments are shares of the bytes that the volume will have, not times, so that a seed means the
//! same on a slow machine.

use std::time::Duration;

use super::dice::Dice;
use super::weather::Weather;

/// The parts of a run that decide by dice of their own.
pub const PROXY_PART: u64 = 1_000;

/// One run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Where all of it comes from.
    pub seed: u64,
    /// How many rows the largest agencies have.
    pub rows: u64,
    /// Whether each server hears datagrams; as many as there are servers, 2 to 4.
    pub hears: Vec<bool>,
    /// The agencies, 2 to 6.
    pub agencies: Vec<AgencyPlan>,
    /// What the proxies do to connections.
    pub weather: Weather,
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
}

/// Something that happens when the volume has so many thousandths of its bytes.
#[derive(Debug, Clone)]
pub struct Event {
    /// 0..=1000.
    pub permille: u64,
    /// What happens.
    pub fault: Fault,
}

/// What happens to processes.
#[derive(Debug, Clone)]
pub enum Fault {
    /// SIGKILL, and a start at the same address; before that it may be killed while it starts.
    KillServer {
        /// Which one, from 0.
        place: usize,
        /// How long it is away.
        down: Duration,
        /// After how long it is killed again while it starts, each time.
        false_starts: Vec<Duration>,
    },
    /// SIGKILL of all servers at once.
    KillAllServers {
        /// How long they are away.
        down: Duration,
    },
    /// SIGTERM, and a start at the same address.
    StopServer {
        /// Which one, from 0.
        place: usize,
        /// How long it is away.
        down: Duration,
    },
    /// SIGSTOP, and SIGCONT later.
    PauseServer {
        /// Which one, from 0.
        place: usize,
        /// How long it does nothing.
        pause: Duration,
        /// Whether it is to be paused while it holds a lock, if it can be caught at that.
        holding: bool,
    },
    /// SIGKILL or SIGTERM of a client, and a start with another batch size.
    EndClient {
        /// Whose.
        agency: u32,
        /// Whether it is SIGKILL.
        kill: bool,
        /// How long it is away.
        down: Duration,
        /// Its next batch size.
        batch: u64,
    },
    /// A second client for an agency.
    Twin {
        /// Whose.
        agency: u32,
        /// Its batch size.
        batch: u64,
    },
}

impl Fault {
    /// How long what it is done to is away, or does nothing.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::KillServer { down, .. }
            | Self::KillAllServers { down }
            | Self::StopServer { down, .. }
            | Self::EndClient { down, .. } => *down,
            Self::PauseServer { pause, .. } => *pause,
            Self::Twin { .. } => Duration::ZERO,
        }
    }
}

impl RunPlan {
    /// The run of `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (servers, agencies) = (dice.between(2, 4), dice.between(2, 6));
        let rows = *[300, 700, 1_500, 3_000].get(dice.between(0, 3) as usize).unwrap_or(&300);
        let blocked = *[0, 0, 0, 30, 100].get(dice.between(0, 4) as usize).unwrap_or(&0);
        let hears = (0..servers).map(|_| !dice.chance(blocked)).collect();
        let agency = |dice: &mut Dice| AgencyPlan {
            batch: batch(dice),
            dead_addresses: if dice.chance(25) { dice.between(1, 3) } else { 0 },
            has_mute_address: dice.chance(4),
        };
        let agencies: Vec<_> = (0..agencies).map(|_| agency(&mut dice)).collect();
        let weather = Weather::of(&mut dice);
        let count = dice.between(2, 9);
        let mut events: Vec<_> = (0..count)
            .map(|_| Event {
                permille: if dice.chance(20) { 1_000 } else { dice.between(0, 990) },
                fault: fault(&mut dice, servers, agencies.len() as u64),
            })
            .collect();
        events.sort_by_key(|event| event.permille);
        Self { seed, rows, hears, agencies, weather, events }
    }
}

fn batch(dice: &mut Dice) -> u64 {
    match dice.between(0, 3) {
        0 => dice.between(1, 5),
        1 => dice.between(5, 30),
        2 => dice.between(30, 120),
        _ => dice.between(100, 1_000),
    }
}

/// How long something is away: mostly a moment.
fn down(dice: &mut Dice) -> Duration {
    if dice.chance(70) { dice.millis(0, 150) } else { dice.millis(150, 1_500) }
}

/// Mostly a moment, sometimes seconds, rarely longer than locks are waited for.
fn pause(dice: &mut Dice) -> Duration {
    match dice.between(1, 100) {
        1..=70 => dice.millis(5, 400),
        71..=86 => dice.millis(400, 2_500),
        _ => dice.millis(5_200, 7_500),
    }
}

fn fault(dice: &mut Dice, servers: u64, agencies: u64) -> Fault {
    let place = dice.between(0, servers - 1) as usize;
    let agency = dice.between(1, agencies) as u32;
    match dice.between(1, 100) {
        1..=30 => {
            let starts = if dice.chance(25) { dice.between(1, 3) } else { 0 };
            let false_starts = (0..starts).map(|_| dice.millis(1, 40)).collect();
            Fault::KillServer { place, down: down(dice), false_starts }
        }
        31..=40 => Fault::KillAllServers { down: down(dice) },
        41..=50 => Fault::StopServer { place, down: down(dice) },
        51..=72 => {
            let (pause, holding) = (pause(dice), dice.chance(60));
            Fault::PauseServer { place, pause, holding }
        }
        73..=90 => {
            let (kill, down) = (dice.chance(75), down(dice));
            Fault::EndClient { agency, kill, down, batch: batch(dice) }
        }
        _ => Fault::Twin { agency, batch: batch(dice) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_run_over_and_over_and_within_its_bounds() {
        for seed in 0..200 {
            let plan = RunPlan::of(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", RunPlan::of(seed)));
            assert!((2..=4).contains(&plan.hears.len()) && (2..=6).contains(&plan.agencies.len()));
            assert!(plan.events.is_sorted_by_key(|event| event.permille));
        }
    }
}
