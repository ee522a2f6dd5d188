//! Every fault at every operation of a conversation over two instances.
//!
//! Three participants join and send their messages, each the next one once the last one is
//! acknowledged, now through one instance and now through the other. At operation k one fault
//! happens. An instance that died or broke starts again; then the conversation goes on to its end,
//! and what was acknowledged is compared with what is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::WaitEnd;
use journal::disk::simulated::{DiskFault, Machine, SimulatedDisk};
use messages::{Command, Join, Line, LineKind};
use protocol::chat::{DirectAddress, MessageText, Name};
use tokio::sync::oneshot;

use super::messages::{MessageLog, MessageSettings, Pending};
use crate::store::messages::Commanded;

const NAMES: [&str; 3] = ["ana", "leo", "eva"];
const MESSAGES: u64 = 4;

/// How many ways of what a crash leaves are tried at each operation.
const CRASHES: u64 = 4;

fn name(who: usize) -> Name {
    NAMES[who].parse().unwrap()
}

fn text(who: usize, sequence: u64) -> String {
    format!("{} says, \"{sequence}\"", NAMES[who])
}

fn join(who: usize, instance: usize) -> Command {
    let (address, instance) = (DirectAddress(None), format!("server-{instance}"));
    Command::Join(Join { name: name(who), key_hash: [7; 32], agency: None, address, instance })
}

fn send(who: usize, sequence: u64) -> Command {
    let text = MessageText::new(text(who, sequence)).unwrap();
    let to = sequence.is_multiple_of(2).then(|| name((who + 1) % NAMES.len()));
    Command::Send { from: name(who), sequence, to, text }
}

struct Run {
    machine: Machine,
    instances: [Option<MessageLog<SimulatedDisk>>; 2],
    /// The positions of the messages that were acknowledged.
    acknowledged: BTreeMap<(usize, u64), u64>,
    joined: [bool; NAMES.len()],
    crashes: u64,
    seed: u64,
}

impl Run {
    fn new(faults: &[(u64, DiskFault)], seed: u64) -> Self {
        let machine = Machine::default();
        faults.iter().for_each(|(at, fault)| machine.fail_at(*at, *fault));
        let (acknowledged, joined) = (BTreeMap::new(), [false; NAMES.len()]);
        Self { machine, instances: [None, None], acknowledged, joined, crashes: 0, seed }
    }

    fn open(&mut self, place: usize) -> Option<&mut MessageLog<SimulatedDisk>> {
        if self.machine.has_crashed() {
            self.instances = [None, None];
            self.crashes += 1;
            self.machine.start(self.seed.wrapping_add(self.crashes));
        }
        if self.instances[place].is_none() {
            let settings = MessageSettings {
                volume: "/volume".into(),
                instance: format!("server-{place}"),
                minimum: 0,
                lock_timeout: Duration::ZERO,
            };
            let disk = Arc::new(self.machine.process());
            let opened = MessageLog::open(disk, Arc::new(settings), &WaitEnd::default());
            self.instances[place] = opened.ok();
        }
        self.instances[place].as_mut()
    }

    /// Commits one group at an instance; `None` for a command whose fate is unknown.
    fn commit(&mut self, place: usize, commands: Vec<Command>) -> Vec<Option<Commanded>> {
        let count = commands.len();
        let Some(log) = self.open(place) else { return vec![None; count] };
        let (mut group, mut replies) = (Vec::new(), Vec::new());
        for command in commands {
            let (reply, replied) = oneshot::channel();
            group.push(Pending { command, reply, _permit: None });
            replies.push(replied);
        }
        let committed = log.commit(&mut group, Instant::now());
        let is_over = committed
            .as_ref()
            .is_err_and(|error| error.is_broken() || error.reason().contains("is dead"));
        if is_over {
            self.instances[place] = None;
        }
        self.machine.free_space();
        drop(group);
        replies.into_iter().map(|mut reply| reply.try_recv().ok()).collect()
    }

    /// One step of everyone, as one group at each instance.
    fn round(&mut self, round: usize) {
        for place in [0, 1] {
            let here: Vec<_> = (0..NAMES.len()).filter(|who| (who + round) % 2 == place).collect();
            let next = |run: &Self, who| {
                (1..=MESSAGES).find(|it| !run.acknowledged.contains_key(&(who, *it)))
            };
            let step = |who: &usize| match next(self, *who) {
                Some(sequence) if self.joined.iter().all(|joined| *joined) => send(*who, sequence),
                _ => join(*who, place),
            };
            let commands: Vec<_> = here.iter().map(step).collect();
            let replies = self.commit(place, commands.clone());
            for ((who, command), reply) in here.into_iter().zip(commands).zip(replies) {
                match (command, reply) {
                    (Command::Send { sequence, .. }, Some(Commanded::Stored(position))) => {
                        self.acknowledged.insert((who, sequence), position);
                    }
                    (Command::Join(_), Some(Commanded::Stored(_))) => self.joined[who] = true,
                    (_, Some(Commanded::Refused(refusal, reason))) => {
                        panic!("{refusal} {reason}")
                    }
                    (_, None | Some(_)) => {}
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.acknowledged.len() as u64 == NAMES.len() as u64 * MESSAGES
    }

    /// The file, line by line, against what was acknowledged.
    fn check(&mut self) {
        let content = self.machine.content(Path::new("/volume/messages.csv")).unwrap();
        let lines: Vec<_> = content.split_inclusive(|byte| *byte == b'\n').collect();
        let lines: Vec<_> = lines.into_iter().map(|line| Line::parse(line).unwrap()).collect();
        let said = |line: &&Line| matches!(line.kind, LineKind::Message | LineKind::Private);
        assert_eq!(lines.iter().filter(said).count(), NAMES.len() * MESSAGES as usize);
        for ((who, sequence), position) in &self.acknowledged {
            let line = &lines[usize::try_from(*position).unwrap() - 1];
            let told = (line.from.as_str(), line.sequence, &line.text);
            assert_eq!(told, (NAMES[*who], *sequence, &text(*who, *sequence)));
        }
        // Both instances read the same, the old lines from the file.
        self.machine.heal();
        for place in [0, 1] {
            let replies = self.commit(place, vec![join(0, 0)]);
            assert!(matches!(replies[..], [Some(Commanded::Stored(_))]), "{replies:?}");
        }
        for log in self.instances.iter_mut().flatten() {
            let read = log.read(3).unwrap();
            let wanted = (4..).zip(lines.iter().skip(3));
            assert!(read.len() > 4 && read.iter().zip(wanted).all(|(a, b)| (a.0, &*a.1) == b));
        }
    }
}

fn run(faults: &[(u64, DiskFault)], seed: u64) -> u64 {
    let mut run = Run::new(faults, seed);
    for round in 0.. {
        assert!(round < 60, "the conversation does not end");
        run.round(round);
        if run.is_done() {
            break;
        }
    }
    run.check();
    run.machine.operations()
}

#[test]
fn no_fault_loses_doubles_or_moves_a_message() {
    let operations = run(&[], 0);
    assert!(operations > 100, "{operations}");
    for operation in 1..=operations {
        for fault in DiskFault::ALL {
            let crashes = matches!(fault, DiskFault::Crash | DiskFault::CrashAfter);
            for way in 0..if crashes { CRASHES } else { 1 } {
                let faults = [(operation, fault)];
                let seed = operation * 1_000 + way;
                let done = std::panic::catch_unwind(|| run(&faults, seed));
                assert!(done.is_ok(), "{faults:?} with seed {seed}");
            }
        }
    }
}
