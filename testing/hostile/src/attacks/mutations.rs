//! Mutated packets on pipelining connections.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::lines::BET;
use super::mutator::Mutator;
use super::{Conversation, join};
use crate::attack::{Report, Target};
use harness::rng::Rng;
use oracle::packet::{self, Line, Packet};

/// How many connections send them.
const CONNECTIONS: u32 = 32;

/// How many lines a connection sends before it reads their answers. Lines and answers fit the
/// buffers of the system, so that neither side waits for the other to read.
const BATCH_LINES: usize = 150;

/// The same, of lines at a pace: without bets between them the server delays each further one.
const PACED_BATCH_LINES: usize = 10;

/// How often a line at full speed is a bet that is stored, which ends the server's delays.
const LINES_PER_BET: usize = 4;

/// How many agencies a connection has for itself in each round.
const AGENCIES: u32 = 100;

/// Sends lines until it is stopped: at least this round's share of them, as fast as they are
/// answered, or with `rate` so many a second.
pub async fn make(target: &Target, rate: Option<u64>) -> anyhow::Result<Report> {
    let share = target.scale.lines / u64::from(target.scale.rounds * CONNECTIONS);
    let (least, batch, pause) = match rate {
        None => (share.max(1), BATCH_LINES, Duration::ZERO),
        Some(rate) => {
            let each = PACED_BATCH_LINES as f64 * f64::from(CONNECTIONS) / rate as f64;
            (0, PACED_BATCH_LINES, Duration::from_secs_f64(each))
        }
    };
    let mut all = JoinSet::new();
    for place in 0..CONNECTIONS {
        let part = target.round * CONNECTIONS + place;
        let mut sender = Sender {
            conversation: Conversation::open(target.address).await?,
            mutator: Mutator::new(Rng::new(target.seed).fork(part.into())),
            first_agency: 1 + part * AGENCIES,
        };
        let stop = target.stop.clone();
        all.spawn(async move {
            let mut next = Instant::now() + pause * (place % 7) / 7;
            while sender.conversation.counts.lines < least || !stop.is_cancelled() {
                if rate.is_some() {
                    sleep_until(next).await;
                    next += pause;
                }
                sender.exchange(batch, rate.is_none()).await?;
            }
            Ok(sender.conversation.report())
        });
    }
    target.ready.notify_one();
    join(all, Report::default()).await
}

struct Sender {
    conversation: Conversation,
    mutator: Mutator,
    first_agency: u32,
}

impl Sender {
    /// Sends some lines, among them bets that are stored `with_bets`, and reads all their answers.
    async fn exchange(&mut self, lines: usize, with_bets: bool) -> anyhow::Result<()> {
        // An agency that no mutated line names.
        let bet = format!("StoreBet:{};{BET}", self.first_agency + AGENCIES - 1);
        for place in 0..lines {
            if self.conversation.is_last {
                break;
            }
            if with_bets && place.is_multiple_of(LINES_PER_BET) {
                self.conversation.add(bet.as_bytes());
            } else {
                self.add_mutated();
            }
        }
        self.conversation.exchange().await
    }

    /// Adds a mutated line, which may have become several, unless one names an agency of another
    /// connection, waits for the draw, or comes after the end of the connection.
    fn add_mutated(&mut self) {
        let own = self.first_agency..=self.first_agency + AGENCIES - 2;
        let rows = |agency| self.conversation.agencies.head(agency).rows;
        let made = self.mutator.line(*own.start(), *own.end(), rows);
        let lines: Vec<&[u8]> = made.split(|byte| *byte == b'\n').collect();
        let is_for_us = |line: &&[u8]| match packet::read(line, packet::AGENCIES_MAX) {
            Line::Of(agency, packet) => own.contains(&agency) && packet != Packet::Winners,
            Line::Malformed(..) | Line::Unknown => true,
        };
        let is_read = lines.iter().rev().skip(1).all(|line| !packet::ends_connection(line));
        if is_read && lines.iter().all(is_for_us) {
            lines.iter().for_each(|line| self.conversation.add(line));
        }
    }
}
