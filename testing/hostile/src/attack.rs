//! The attacks: what each of them is, how much of it there is, and what a server owes under it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attacks::{crowds, datagrams, descriptors, lines, mutations, stalls, talkers};
use oracle::head::Head;

/// What is done to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Mutated packets as fast as they are answered, on pipelining connections
    Mutations,
    /// Mutated packets, 10,000 a second
    PacedMutations,
    /// A byte of a packet now and then, on each of 1,000 connections
    SlowWriters,
    /// 60 KB of a packet and never its end, on each of 1,000 connections
    HalfLines,
    /// The same on 10,000 connections
    ManyHalfLines,
    /// 8 KB of a packet and never its end, on each of 10,000 connections
    SmallHalfLines,
    /// Packets on and on, and no answer is ever read, on each of 1,000 connections
    NeverReading,
    /// Packets on and on, some of which are stored, and no answer is ever read, on each of 250
    /// connections whose system keeps next to nothing of the answers
    StuckAnswers,
    /// Questions, rows and closes that do not fit or were there before, as fast as they are
    /// answered, on each of 1,000 connections
    Questions,
    /// Lines of 64 KiB and one byte, and of 100 KiB, beside 1,000 connections on each of which one
    /// line never ends
    LongLines,
    /// Bytes that are not UTF-8, NUL bytes, control characters, in every place of a packet
    BadBytes,
    /// Names that a spreadsheet would take as formulas: stored as they are
    Formulas,
    /// 10,000 connections that send nothing
    Idle,
    /// Connections opened and closed, 2,000 a second
    Storm,
    /// More connections than the server has descriptors for
    Full,
    /// The system takes the server's descriptors away
    NoDescriptors,
    /// Forged and senseless datagrams, as fast as they can be sent
    Datagrams,
    /// The same, 10,000 a second
    PacedDatagrams,
    /// 10,000 connections that wait for winners
    Waiting,
    /// Forged names, other people's numbers and harmful texts of messages, as fast as they are
    /// answered, on each of 1,000 connections
    ForgedMessages,
    /// Participants on 250 connections who ask for all lines on and on, and take none of them
    SilentReaders,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How many mutated lines in all rounds.
    pub lines: u64,
    /// How many connections a crowd has.
    pub crowd: usize,
    /// How many connections stall.
    pub stalls: usize,
    /// How many rounds there are.
    pub rounds: u32,
    /// How long a window is in which throughput is measured.
    pub window: Duration,
    /// Whether throughput is judged: short windows say nothing.
    pub is_judged: bool,
}

impl Scale {
    /// For figures.
    #[must_use]
    pub fn full(lines: u64) -> Self {
        let window = Duration::from_millis(800);
        Self { lines, crowd: 10_000, stalls: 1_000, rounds: 9, window, is_judged: true }
    }

    /// For tests.
    #[must_use]
    pub fn quick(lines: u64) -> Self {
        let (lines, window) = (lines.min(20_000), Duration::from_millis(150));
        Self { lines, crowd: 1_200, stalls: 120, rounds: 1, window, is_judged: false }
    }
}

/// The server that is attacked, in one round.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where the server accepts connections.
    pub address: SocketAddr,
    /// Where it receives datagrams.
    pub udp: SocketAddr,
    /// Its process.
    pub id: u32,
    /// The seed of all random decisions.
    pub seed: u64,
    /// Which round, from 0: packets that are stored name other agencies in each.
    pub round: u32,
    /// How much.
    pub scale: Scale,
    /// Woken when the attack is in full effect.
    pub ready: Arc<Notify>,
    /// Ends the attack, if it has no end of its own.
    pub stop: CancellationToken,
}

impl Target {
    /// The attack is in full effect; waits until it is to end.
    pub async fn hold(&self) {
        self.ready.notify_one();
        self.stop.cancelled().await;
    }
}

/// What an attack did.
#[derive(Debug, Default)]
pub struct Report {
    /// Connections made.
    pub connections: u64,
    /// Lines, or datagrams, sent.
    pub lines: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Connections that the server closed.
    pub closed: u64,
    /// The rows that the server acknowledged, by agency.
    pub stored: HashMap<u32, Head>,
    /// How often [`lines::BET`] was sent for an agency without reading the answers. Each may be
    /// stored or not.
    pub unread: HashMap<u32, u64>,
}

impl Report {
    /// Adds what another one counted.
    pub fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.closed += other.closed;
        self.stored.extend(other.stored);
        self.unread.extend(other.unread);
    }
}

impl Attack {
    /// What the command line calls it.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Makes it, until it is told to stop.
    ///
    /// # Errors
    /// A connection could not be made, or an answer is not the one that is owed.
    pub async fn make(self, target: &Target) -> anyhow::Result<Report> {
        let Scale { crowd, stalls, .. } = target.scale;
        match self {
            Self::Mutations => mutations::make(target, None).await,
            Self::PacedMutations => mutations::make(target, Some(PACED_PER_SECOND)).await,
            Self::SlowWriters => stalls::slow_writers(target).await,
            Self::HalfLines => stalls::half_lines(target, stalls, 60_000).await,
            Self::ManyHalfLines => stalls::half_lines(target, crowd, 60_000).await,
            Self::SmallHalfLines => stalls::half_lines(target, crowd, 8_000).await,
            Self::NeverReading => stalls::never_reading(target).await,
            Self::StuckAnswers => stalls::stuck_answers(target).await,
            Self::Questions => lines::questions(target).await,
            Self::LongLines => lines::long_lines(target).await,
            Self::BadBytes => lines::bad_bytes(target).await,
            Self::Formulas => lines::formulas(target).await,
            Self::Idle => crowds::idle(target).await,
            Self::Storm => crowds::storm(target).await,
            Self::Full => descriptors::full(target).await,
            Self::NoDescriptors => descriptors::taken_away(target).await,
            Self::Datagrams => datagrams::flood(target, None).await,
            Self::PacedDatagrams => datagrams::flood(target, Some(PACED_PER_SECOND)).await,
            Self::Waiting => crowds::waiting(target).await,
            Self::ForgedMessages => talkers::forged(target).await,
            Self::SilentReaders => talkers::never_reading(target).await,
        }
    }

    /// What share of its throughput an ordinary load must keep. Two attacks take more of the two
    /// processors for themselves than that leaves, whatever the server does, and are made again at
    /// a pace, where it is judged:
    ///
    /// - mutations at full speed: of the lines a tenth is valid by chance, which the server owes
    ///   the same work as any agency's, and every answer is compared on the same machine;
    /// - datagrams at full speed: sending them takes a processor.
    #[must_use]
    pub fn throughput_least(self) -> Option<f64> {
        (!matches!(self, Self::Mutations | Self::Datagrams)).then_some(0.9)
    }

    /// What share of a processor the server may take under this attack alone, if it is known.
    #[must_use]
    pub fn processor_most(self) -> Option<f64> {
        match self {
            Self::HalfLines | Self::ManyHalfLines | Self::SmallHalfLines => Some(0.05),
            Self::Idle | Self::Waiting | Self::Full | Self::NoDescriptors => Some(0.05),
            Self::StuckAnswers => Some(0.05),
            Self::Datagrams | Self::PacedDatagrams => Some(0.25),
            _ => None,
        }
    }

    /// The actions of the warnings that the server may log under it: about bad packets, and about
    /// connections that it has no room for.
    #[must_use]
    pub fn warnings(self) -> &'static [&'static str] {
        match self {
            Self::Mutations | Self::PacedMutations => {
                &["packet", "apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada"]
            }
            Self::LongLines | Self::BadBytes => &["packet"],
            Self::NeverReading | Self::StuckAnswers => &["packet"],
            Self::Questions => &["apuestas_almacenadas", "agencia_cerrada"],
            Self::Full | Self::NoDescriptors => &["accept_connections"],
            _ => &[],
        }
    }

    /// How much memory the server may ever have resident, in MiB: what RELIABILITY.md promises
    /// with 10,000 connections that wait, and in every other case.
    #[must_use]
    pub fn memory_mib_most(self) -> f64 {
        if matches!(self, Self::Idle | Self::Waiting) { 64.0 } else { 160.0 }
    }
}

const PACED_PER_SECOND: u64 = 10_000;
