//! What goes wrong with processes, with the disk and with the names, and how often.

use std::time::Duration;

use harness::rng::Rng;

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
    SecondClient {
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
            Self::SecondClient { .. } => Duration::ZERO,
        }
    }

    /// Any fault but a full disk, in a run of so many servers and agencies.
    #[must_use]
    pub fn any(rng: &mut Rng, servers: u64, agencies: u64) -> Self {
        let place = rng.between(0, servers - 1) as usize;
        let agency = rng.between(1, agencies) as u32;
        match rng.between(1, 100) {
            1..=16 => {
                let starts = if rng.chance(25) { rng.between(1, 3) } else { 0 };
                let false_starts = (0..starts).map(|_| rng.millis(1, 40)).collect();
                let holding = rng.chance(40);
                Self::KillServer { place, holding, down: down(rng), false_starts }
            }
            17..=22 => {
                Self::TearServer { place, bytes: rng.between(1, TORN_BYTES_MAX), down: down(rng) }
            }
            23..=30 => Self::KillAllServers { down: down(rng) },
            31..=38 => Self::StopServer { place, down: down(rng) },
            39..=47 => Self::MoveServer { place, down: down(rng), stale: down(rng) },
            48..=66 => {
                let holding = rng.chance(60);
                Self::PauseServer { place, pause: pause(rng), holding }
            }
            67..=79 => {
                let (kill, down) = (rng.chance(75), down(rng));
                Self::EndClient { agency, kill, down, batch: batch(rng) }
            }
            80..=87 => Self::PauseClient { agency, pause: pause(rng) },
            88..=94 => Self::SecondClient { agency, batch: batch(rng) },
            _ => {
                let members = (0..servers as usize).filter(|_| rng.chance(50)).collect();
                Self::ChangeName { members, has_dead: rng.chance(50), lasts: pause(rng) }
            }
        }
    }

    /// A server that does nothing with a lock in its hands, for longer than others wait for it,
    /// and for so much longer that it is seen if they do not give up.
    #[must_use]
    pub fn long_hold(rng: &mut Rng, servers: u64) -> Self {
        let place = rng.between(0, servers - 1) as usize;
        let pause = rng.millis(LOCK_LIMIT_MILLIS + 3_000, LOCK_LIMIT_MILLIS + 4_500);
        Self::PauseServer { place, pause, holding: true }
    }

    /// A full disk.
    #[must_use]
    pub fn full_disk(rng: &mut Rng) -> Self {
        let left = if rng.chance(50) { 0 } else { rng.between(0, LEFT_BYTES_MAX) };
        Self::FillDisk { left, lasts: rng.millis(50, 3_000) }
    }
}

/// How many bets a client sends in a packet.
pub fn batch(rng: &mut Rng) -> u64 {
    match rng.between(0, 3) {
        0 => rng.between(1, 5),
        1 => rng.between(5, 30),
        2 => rng.between(30, 120),
        _ => rng.between(100, 1_000),
    }
}

/// How long something is away: mostly a moment.
fn down(rng: &mut Rng) -> Duration {
    if rng.chance(70) { rng.millis(0, 150) } else { rng.millis(150, 1_500) }
}

/// Mostly a moment, sometimes seconds, rarely longer than locks are waited for.
fn pause(rng: &mut Rng) -> Duration {
    match rng.between(1, 100) {
        1..=70 => rng.millis(5, 400),
        71..=86 => rng.millis(400, 2_500),
        _ => rng.millis(LOCK_LIMIT_MILLIS + 200, LOCK_LIMIT_MILLIS + 2_500),
    }
}
