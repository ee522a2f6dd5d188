//! Mutated packets on pipelining connections, every answer compared with what PROTOCOL.md says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::bytes::BET;
use super::{connect, line};
use crate::attack::{Signals, Tally, Target};
use crate::mutate::Mutator;
use harness::rng::Rng;
use oracle::model::{Agencies, Effect, Wanted};
use oracle::packet::{self, Line, Packet};

/// How many connections send them.
pub const CONNECTIONS: u32 = 32;

/// How many lines a connection sends before it reads their answers. Both fit the buffers of the
/// system: nobody waits for the other to read.
const BATCH_LINES: usize = 150;

/// The same, of lines at a pace: with no bets between them the server delays each further one.
const PACED_BATCH_LINES: usize = 10;

/// How often a line at full speed is a bet that is stored, which ends the server's delays.
const LINES_PER_BET: usize = 4;

/// How many agencies a connection has for itself in each round.
const AGENCIES: u32 = 100;

/// How many findings of a connection are told; then it ends.
const FINDINGS_MAX: usize = 5;

/// Sends lines until it is stopped: at least this round's share of them, as fast as they are
/// answered, or with `rate` so many a second.
///
/// # Errors
/// A connection could not be made, or is not answered.
pub async fn make(target: Target, signals: Signals, rate: Option<u64>) -> anyhow::Result<Tally> {
    let mut all = JoinSet::new();
    let rounds = u64::from(target.scale.rounds);
    let share = (target.scale.lines / rounds / u64::from(CONNECTIONS)).max(1);
    let pause = rate.map(|rate| {
        let each = PACED_BATCH_LINES as f64 * f64::from(CONNECTIONS) / rate as f64;
        Duration::from_secs_f64(each)
    });
    for place in 0..CONNECTIONS {
        let connection = Connection::open(&target, place, rate.is_some()).await?;
        let stop = signals.stop.clone();
        all.spawn(async move {
            match pause {
                None => connection.send(share, || stop.is_cancelled()).await,
                Some(pause) => connection.send_slowly(pause, || stop.is_cancelled()).await,
            }
        });
    }
    let _ = signals.ready.send(());
    let mut tally = Tally::default();
    while let Some(joined) = all.join_next().await {
        tally.add(joined??);
    }
    Ok(tally)
}

struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    unread: Vec<u8>,
    mutator: Mutator,
    agencies: Agencies,
    first_agency: u32,
    /// Lines that have an answer which has not come.
    asked: VecDeque<(Wanted, Vec<u8>)>,
    /// Whether the server closes the connection after these answers.
    is_last: bool,
    is_paced: bool,
    tally: Tally,
}

impl Connection {
    async fn open(target: &Target, place: u32, is_paced: bool) -> anyhow::Result<Self> {
        let part = target.round * CONNECTIONS + place;
        Ok(Self {
            address: target.address,
            stream: connect(target.address).await?,
            unread: Vec::new(),
            mutator: Mutator::new(Rng::new(target.seed).fork(part.into())),
            agencies: Agencies::default(),
            first_agency: 1 + part * AGENCIES,
            asked: VecDeque::new(),
            is_last: false,
            is_paced,
            tally: Tally { connections: 1, ..Tally::default() },
        })
    }

    async fn send(mut self, lines: u64, has_ended: impl Fn() -> bool) -> anyhow::Result<Tally> {
        let is_done = |lines_so_far: u64| lines_so_far >= lines && has_ended();
        while !is_done(self.tally.lines) && self.tally.findings.len() < FINDINGS_MAX {
            self.exchange().await?;
        }
        Ok(self.tally)
    }

    async fn send_slowly(
        mut self,
        pause: Duration,
        has_ended: impl Fn() -> bool,
    ) -> anyhow::Result<Tally> {
        let mut next = Instant::now() + pause * (self.first_agency % 7) / 7;
        while !has_ended() && self.tally.findings.len() < FINDINGS_MAX {
            sleep_until(next).await;
            next += pause;
            self.exchange().await?;
        }
        Ok(self.tally)
    }

    /// Sends some lines and reads all their answers.
    async fn exchange(&mut self) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let lines = if self.is_paced { PACED_BATCH_LINES } else { BATCH_LINES };
        for place in 0..lines {
            match (self.is_last, self.is_paced || !place.is_multiple_of(LINES_PER_BET)) {
                (true, _) => break,
                (false, true) => self.add_line(&mut bytes),
                (false, false) => self.add_bet(&mut bytes),
            }
        }
        self.tally.bytes += bytes.len() as u64;
        if self.stream.write_all(&bytes).await.is_err() {
            self.find("the server closed the connection".to_owned());
            return Ok(());
        }
        while let Some((wanted, asked)) = self.asked.pop_front() {
            let Some(answer) = line(&mut self.stream, &mut self.unread).await? else {
                self.find(format!("no answer to {:?}", String::from_utf8_lossy(&asked)));
                return Ok(());
            };
            self.compare(&wanted, &asked, &answer);
        }
        if !self.unread.is_empty() {
            let more = String::from_utf8_lossy(&self.unread).into_owned();
            self.find(format!("more answers than lines: {more:?}"));
        }
        if self.is_last {
            self.reopen().await?;
        }
        Ok(())
    }

    /// Waits until the server closes the connection, and opens another one.
    async fn reopen(&mut self) -> anyhow::Result<()> {
        if let Some(more) = line(&mut self.stream, &mut self.unread).await? {
            self.find(format!("the connection goes on with \"{}\"", more.escape_ascii()));
        }
        self.stream = connect(self.address).await?;
        self.unread.clear();
        self.is_last = false;
        self.tally.connections += 1;
        Ok(())
    }

    /// Adds a bet that is stored, of an agency that no mutated line names.
    fn add_bet(&mut self, bytes: &mut Vec<u8>) {
        let agency = self.first_agency + AGENCIES - 1;
        let line = format!("StoreBet:{agency}{}", BET.replacen(':', ";", 1)).into_bytes();
        self.tally.lines += 1;
        if let Effect::Answers(wanted) = self.agencies.take(&line, &mut self.tally.stored) {
            self.asked.push_back((wanted, line.clone()));
        }
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
    }

    /// Adds a line, unless it names another one's agency, or waits for the draw.
    fn add_line(&mut self, bytes: &mut Vec<u8>) {
        let (least, most) = (self.first_agency, self.first_agency + AGENCIES - 2);
        let (agencies, mut made) = (&self.agencies, Vec::new());
        self.mutator.line(least, most, |agency| agencies.rows(agency), &mut made);
        let lines = || {
            made.split_inclusive(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        };
        let is_for_us = |line| match packet::read(line) {
            Line::Of(agency, packet) => {
                (least..=most).contains(&agency) && packet != Packet::Winners
            }
            Line::PacketError(..) | Line::Unknown => true,
        };
        // What stands behind the last line of a connection is not read.
        let is_read = || lines().rev().skip(1).all(|line| !packet::ends_connection(line));
        if !lines().all(is_for_us) || !is_read() {
            return;
        }
        for line in lines() {
            self.tally.lines += 1;
            let effect = self.agencies.take(line, &mut self.tally.stored);
            if let Effect::Answers(wanted) = effect {
                self.asked.push_back((wanted, line.to_vec()));
            }
            self.is_last |= packet::ends_connection(line);
        }
        bytes.append(&mut made);
    }

    fn compare(&mut self, wanted: &Wanted, asked: &[u8], answer: &[u8]) {
        if !std::str::from_utf8(answer).is_ok_and(|answer| wanted.fits(answer)) {
            let (answer, asked) = (answer.escape_ascii(), asked.escape_ascii());
            self.find(format!("the answer \"{answer}\" to \"{asked}\", not {wanted:?}"));
        }
    }

    fn find(&mut self, finding: String) {
        self.tally.findings.push(finding);
    }
}
