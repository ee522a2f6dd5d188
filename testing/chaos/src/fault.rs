//! What goes wrong with processes, with the disk and with the names, and how often.

use std::time::Duration;

use harness::dice::Dice;

/// The longest that locks are waited for; some pauses are longer, so that it is seen.
const LOCK_LIMIT_MILLIS: u64 = 5_000;

/// What a full disk is counted as.
pub const DISK_FULL: &str = "disk full";

/// The most bytes that a full disk has left: some batches still fit.
const LEFT_BYTES_MAX: u64 = 32 * 1024;

/// The most bytes that a server still writes before it dies of it.
const TORN_BYTES_MAX: u64 = 4 * 1024;

/// What happens.
#[derive(Debug, Clone)]
pub enum Fault {
    /// SIGKILL, and a start at the same address; before that it may be killed while it starts.
    KillServer {
        /// Which one, from 0.
        place: usize,
        /// Whether it is to be killed while it holds a lock, if it can be caught at that.
        holding: bool,
        /// How long it is away.
        down: Duration,
        /// After how long it is killed again while it starts, each time.
        false_starts: Vec<Duration>,
    },
    /// Its death in the middle of its next write of bets, and a start at the same address.
    TearServer {
        /// Which one, from 0.
        place: usize,
        /// How many bytes it may still write.
        bytes: u64,
        /// How long it is away.
        down: Duration,
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
    /// SIGKILL, and a start at another address, also for clients.
    MoveServer {
        /// Which one, from 0.
        place: usize,
        /// How long it is away.
        down: Duration,
        /// How long its name has the old address after that.
        stale: Duration,
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
    /// SIGSTOP of a client, and SIGCONT later.
    PauseClient {
        /// Whose.
        agency: u32,
        /// How long it does nothing.
        pause: Duration,
    },
    /// A second client for an agency.
    Twin {
        /// Whose.
        agency: u32,
        /// Its batch size.
        batch: u64,
    },
    /// The servers' name has some of their addresses only, or none, and perhaps a dead one.
    ChangeName {
        /// The places, from 0, that it has.
        members: Vec<usize>,
        /// Whether it has an address at which nobody listens, too.
        has_dead: bool,
        /// How long.
        lasts: Duration,
    },
    /// The volume's disk is full.
    FillDisk {
        /// How many bytes are left of it.
        left: u64,
        /// How long.
        lasts: Duration,
    },
}

impl Fault {
    /// How long what it is done to is away, or does nothing.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::KillServer { down, .. }
            | Self::TearServer { down, .. }
            | Self::KillAllServers { down }
            | Self::StopServer { down, .. }
            | Self::EndClient { down, .. } => *down,
            Self::MoveServer { down, stale, .. } => *down + *stale,
            Self::PauseServer { pause, .. } | Self::PauseClient { pause, .. } => *pause,
            Self::ChangeName { lasts, .. } | Self::FillDisk { lasts, .. } => *lasts,
            Self::Twin { .. } => Duration::ZERO,
        }
    }

    /// Any fault but a full disk, in a run of so many servers and agencies.
    #[must_use]
    pub fn any(dice: &mut Dice, servers: u64, agencies: u64) -> Self {
        let place = dice.between(0, servers - 1) as usize;
        let agency = dice.between(1, agencies) as u32;
        match dice.between(1, 100) {
            1..=16 => {
                let starts = if dice.chance(25) { dice.between(1, 3) } else { 0 };
                let false_starts = (0..starts).map(|_| dice.millis(1, 40)).collect();
                let holding = dice.chance(40);
                Self::KillServer { place, holding, down: down(dice), false_starts }
            }
            17..=22 => {
                Self::TearServer { place, bytes: dice.between(1, TORN_BYTES_MAX), down: down(dice) }
            }
            23..=30 => Self::KillAllServers { down: down(dice) },
            31..=38 => Self::StopServer { place, down: down(dice) },
            39..=47 => Self::MoveServer { place, down: down(dice), stale: down(dice) },
            48..=66 => {
                let holding = dice.chance(60);
                Self::PauseServer { place, pause: pause(dice), holding }
            }
            67..=79 => {
                let (kill, down) = (dice.chance(75), down(dice));
                Self::EndClient { agency, kill, down, batch: batch(dice) }
            }
            80..=87 => Self::PauseClient { agency, pause: pause(dice) },
            88..=94 => Self::Twin { agency, batch: batch(dice) },
            _ => {
                let members = (0..servers as usize).filter(|_| dice.chance(50)).collect();
                Self::ChangeName { members, has_dead: dice.chance(50), lasts: pause(dice) }
            }
        }
    }

    /// A server that does nothing with a lock in its hands, for longer than others wait for it,
    /// and for so much longer that it is seen if they do not give up.
    #[must_use]
    pub fn long_hold(dice: &mut Dice, servers: u64) -> Self {
        let place = dice.between(0, servers - 1) as usize;
        let pause = dice.millis(LOCK_LIMIT_MILLIS + 3_000, LOCK_LIMIT_MILLIS + 4_500);
        Self::PauseServer { place, pause, holding: true }
    }

    /// A full disk.
    #[must_use]
    pub fn full_disk(dice: &mut Dice) -> Self {
        let left = if dice.chance(50) { 0 } else { dice.between(0, LEFT_BYTES_MAX) };
        Self::FillDisk { left, lasts: dice.millis(50, 3_000) }
    }
}

/// How many bets a client sends in a packet.
pub fn batch(dice: &mut Dice) -> u64 {
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
        _ => dice.millis(LOCK_LIMIT_MILLIS + 200, LOCK_LIMIT_MILLIS + 2_500),
    }
}
