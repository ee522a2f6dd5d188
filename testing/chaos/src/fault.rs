//! The faults of both environments, and how often each is chosen.

use std::time::Duration;

use harness::rng::Rng;

/// The longest that locks are waited for; some pauses are longer, so that it is seen.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_MILLIS: u64 = LOCK_TIMEOUT.as_millis() as u64;

/// The most bytes that a full disk has left: some batches still fit.
const LEFT_BYTES_MAX: u64 = 32 * 1024;

/// The most bytes that a server still writes before it dies of it.
const TORN_BYTES_MAX: u64 = 4 * 1024;

/// Where a run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Processes of this machine, with proxies between them.
    Processes,
    /// Containers of a Compose project.
    Containers,
}

/// What a fault is done to: one of those that are there, by its place modulo their count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A server.
    Server(usize),
    /// A client.
    Client(usize),
}

/// What else happens to a container that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// SIGKILL, and a start without a network.
    Killed,
    /// SIGTERM, and a start without a network.
    Stopped,
}

/// What happens. Durations are how long it lasts before it is undone.
#[derive(Debug, Clone)]
pub enum Fault {
    /// SIGKILL, and a start. If `holding`, while it holds a lock, if it can be caught at that. It is
    /// killed so long after each of the false starts.
    Kill { target: Target, holding: bool, down: Duration, false_starts: Vec<Duration> },
    /// SIGTERM, and a start.
    Stop { target: Target, down: Duration },
    /// It does nothing for a while. If `holding`, while it holds a lock, if it can be caught at that.
    Pause { target: Target, pause: Duration, holding: bool },
    /// Processes: a server's death in the middle of its next write of bets, `bytes` behind what is
    /// stored, and a start.
    Tear { server: Target, bytes: u64, down: Duration },
    /// Processes: SIGKILL of all servers at once.
    KillAll { down: Duration },
    /// Processes: SIGKILL of a server, and a start at another address, also for clients. Its name has
    /// the old address for the time `stale` after that.
    Move { server: Target, down: Duration, stale: Duration },
    /// Processes: a second client of an agency.
    SecondClient { agency: usize },
    /// Processes: the servers' name has the addresses of some `places` only, or none, and perhaps one
    /// without a listener.
    ChangeName { places: Vec<usize>, has_dead: bool, lasts: Duration },
    /// Processes: the volume's disk has only `left` bytes left.
    FillDisk { left: u64, lasts: Duration },
    /// Containers: SIGKILL of two that are started in the other order, for one to get the other's
    /// address.
    Swap { server: Target, other: Target },
    /// Containers: it has no network.
    CutOff { target: Target, away: Duration, meanwhile: Meanwhile },
    /// Containers: a server has no network until the draw has been held, and it knows of that.
    MissDraw { server: Target },
    /// Containers: one server more.
    Add,
    /// Containers: one server is stopped for good, if two are left.
    Remove { server: Target },
}

/// What chooses a fault.
#[derive(Debug)]
pub struct FaultChooser {
    /// The source of its decisions.
    pub rng: Rng,
    /// Where the run takes place.
    pub kind: Kind,
    /// How many servers there are at first.
    pub servers: u64,
    /// Whether clients give up soon.
    pub is_impatient: bool,
}

type Choose = fn(&mut FaultChooser) -> Fault;

/// How often each fault is chosen among processes and among containers, of a hundred.
const CHOICES: [(u64, u64, Choose); 15] = [
    (16, 15, |chooser| Fault::Kill {
        target: chooser.server(),
        holding: chooser.kind == Kind::Processes && chooser.rng.chance(40),
        down: chooser.down(),
        false_starts: chooser.false_starts(),
    }),
    (10, 7, |chooser| Fault::Kill {
        target: chooser.client(),
        holding: false,
        down: chooser.down(),
        false_starts: Vec::new(),
    }),
    (8, 6, |chooser| Fault::Stop { target: chooser.server(), down: chooser.down() }),
    (3, 4, |chooser| Fault::Stop { target: chooser.client(), down: chooser.down() }),
    (19, 15, |chooser| Fault::Pause {
        target: chooser.server(),
        pause: chooser.pause(),
        holding: chooser.rng.chance(65),
    }),
    (8, 5, |chooser| Fault::Pause {
        target: chooser.client(),
        pause: chooser.pause(),
        holding: false,
    }),
    (6, 0, |chooser| Fault::Tear {
        server: chooser.server(),
        bytes: chooser.rng.between(1, TORN_BYTES_MAX),
        down: chooser.down(),
    }),
    (8, 0, |chooser| Fault::KillAll { down: chooser.down() }),
    (9, 0, |chooser| Fault::Move {
        server: chooser.server(),
        down: chooser.down(),
        stale: chooser.down(),
    }),
    (7, 0, |chooser| Fault::SecondClient { agency: chooser.rng.between(0, 9) as usize }),
    (6, 0, |chooser| Fault::ChangeName {
        places: (0..chooser.servers as usize).filter(|_| chooser.rng.chance(50)).collect(),
        has_dead: chooser.rng.chance(50),
        lasts: chooser.pause(),
    }),
    (0, 9, |chooser| {
        let place = chooser.rng.between(0, 11) as usize;
        let other =
            if chooser.rng.chance(60) { Target::Server(place + 1) } else { chooser.client() };
        Fault::Swap { server: Target::Server(place), other }
    }),
    (0, 24, |chooser| chooser.cut_off()),
    (0, 8, |_| Fault::Add),
    (0, 7, |chooser| Fault::Remove { server: chooser.server() }),
];

impl Fault {
    /// Any fault that comes in every run.
    #[must_use]
    pub fn any(chooser: &mut FaultChooser) -> Self {
        let weights = CHOICES.map(|(processes, containers, choose)| match chooser.kind {
            Kind::Processes => (processes, choose),
            Kind::Containers => (containers, choose),
        });
        chooser.rng.weighted(&weights).expect("some weights are not 0")(chooser)
    }

    /// A server that does nothing while it holds a lock, for so much longer than others wait for it
    /// that it is seen if they do not give up.
    #[must_use]
    pub fn long_hold(chooser: &mut FaultChooser) -> Self {
        let pause = chooser.rng.millis(LOCK_MILLIS + 3_000, LOCK_MILLIS + 4_500);
        Self::Pause { target: chooser.server(), pause, holding: true }
    }

    /// A full disk.
    #[must_use]
    pub fn full_disk(chooser: &mut FaultChooser) -> Self {
        let left = if chooser.rng.chance(50) { 0 } else { chooser.rng.between(0, LEFT_BYTES_MAX) };
        Self::FillDisk { left, lasts: chooser.rng.millis(50, 3_000) }
    }
}

impl FaultChooser {
    /// Any server, also of those that are added later.
    pub fn server(&mut self) -> Target {
        Target::Server(self.rng.between(0, 11) as usize)
    }

    fn client(&mut self) -> Target {
        Target::Client(self.rng.between(0, 11) as usize)
    }

    fn false_starts(&mut self) -> Vec<Duration> {
        let is_any = self.kind == Kind::Processes && self.rng.chance(25);
        let count = if is_any { self.rng.between(1, 3) } else { 0 };
        (0..count).map(|_| self.rng.millis(1, 40)).collect()
    }

    /// How long something is away: mostly a moment.
    fn down(&mut self) -> Duration {
        match self.kind {
            Kind::Processes => short_or_long(&mut self.rng, 70, (0, 150), (150, 1_500)),
            Kind::Containers => short_or_long(&mut self.rng, 60, (0, 300), (300, 6_000)),
        }
    }

    /// Mostly a moment, sometimes seconds, rarely longer than locks are waited for.
    fn pause(&mut self) -> Duration {
        let longest = (LOCK_MILLIS + 200, LOCK_MILLIS + 2_500);
        match self.kind {
            Kind::Processes if self.rng.chance(86) => {
                short_or_long(&mut self.rng, 81, (5, 400), (400, 2_500))
            }
            Kind::Processes => self.rng.millis(longest.0, longest.1),
            Kind::Containers => short_or_long(&mut self.rng, 65, (100, 3_000), (5_500, 8_000)),
        }
    }

    /// A client that gives up soon is sometimes cut off for longer than it tries.
    fn cut_off(&mut self) -> Fault {
        let target = if self.rng.chance(50) { self.server() } else { self.client() };
        let is_long = self.is_impatient && matches!(target, Target::Client(_));
        let short = if is_long { (22_000, 25_000) } else { (100, 2_000) };
        let away = short_or_long(&mut self.rng, 50, short, (2_000, 12_000));
        let all = [(70, Meanwhile::Nothing), (15, Meanwhile::Killed), (15, Meanwhile::Stopped)];
        let meanwhile = self.rng.weighted(&all).unwrap_or(Meanwhile::Nothing);
        Fault::CutOff { target, away, meanwhile }
    }
}

/// How long something lasts: `short`, in this many of a hundred cases, or `long`. In milliseconds.
fn short_or_long(rng: &mut Rng, percent: u64, short: (u64, u64), long: (u64, u64)) -> Duration {
    let (least, most) = if rng.chance(percent) { short } else { long };
    rng.millis(least, most)
}
