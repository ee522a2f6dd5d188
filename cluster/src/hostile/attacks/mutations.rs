//! Mutated packets on pipelining connections, every answer compared with what PROTOCOL.md says.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{connect, line};
use crate::chaos::dice::Dice;
use crate::hostile::attack::{Signals, Tally, Target};
use crate::hostile::model::{self, Agencies, Answer};
use crate::hostile::mutate::Mutator;

/// How many connections send them.
const CONNECTIONS: u32 = 32;

/// How many lines a connection sends before it reads their answers. Both fit the buffers of the
/// system: nobody waits for the other to read.
const BATCH_LINES: usize = 150;

/// How many agencies a connection has for itself in each round.
const AGENCIES: u32 = 100;

/// How many findings of a connection are told; then it ends.
const FINDINGS_MAX: usize = 5;

/// Sends this round's share of the lines, or with `rate` so many a second until it is stopped.
///
/// # Errors
/// A connection could not be made, or is not answered.
pub async fn make(target: Target, signals: Signals, rate: Option<u64>) -> anyhow::Result<Tally> {
    let mut all = JoinSet::new();
    let rounds = u64::from(target.scale.rounds);
    let share = (target.scale.lines / rounds / u64::from(CONNECTIONS)).max(1);
    let pause = rate.map(|rate| {
        let each = BATCH_LINES as f64 * f64::from(CONNECTIONS) / rate as f64;
        Duration::from_secs_f64(each)
    });
    for place in 0..CONNECTIONS {
        let connection = Connection::open(&target, place).await?;
        let stop = signals.stop.clone();
        all.spawn(async move {
            match pause {
                None => connection.send(share).await,
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
    stream: TcpStream,
    unread: Vec<u8>,
    mutator: Mutator,
    agencies: Agencies,
    first_agency: u32,
    /// Lines that have an answer which has not come.
    asked: VecDeque<(Answer, Vec<u8>)>,
    tally: Tally,
}

impl Connection {
    async fn open(target: &Target, place: u32) -> anyhow::Result<Self> {
        let part = target.round * CONNECTIONS + place;
        Ok(Self {
            stream: connect(target.address).await?,
            unread: Vec::new(),
            mutator: Mutator::new(Dice::new(target.seed).fork(part.into())),
            agencies: Agencies::default(),
            first_agency: 1 + part * AGENCIES,
            asked: VecDeque::new(),
            tally: Tally { connections: 1, ..Tally::default() },
        })
    }

    async fn send(mut self, lines: u64) -> anyhow::Result<Tally> {
        while self.tally.lines < lines && self.tally.findings.len() < FINDINGS_MAX {
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
        for _ in 0..BATCH_LINES {
            self.add_line(&mut bytes);
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
            self.compare(wanted, &asked, &answer);
        }
        if !self.unread.is_empty() {
            let more = String::from_utf8_lossy(&self.unread).into_owned();
            self.find(format!("more answers than lines: {more:?}"));
        }
        Ok(())
    }

    /// Adds a line, unless what became of it is another one's agency, or waits for the draw.
    fn add_line(&mut self, bytes: &mut Vec<u8>) {
        let (least, most) = (self.first_agency, self.first_agency + AGENCIES - 1);
        let (agencies, mut made) = (&self.agencies, Vec::new());
        self.mutator.line(least, most, |agency| agencies.rows(agency), &mut made);
        let natures = || {
            made.split_inclusive(|byte| *byte == b'\n').map(|line| {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                (line, model::nature(line))
            })
        };
        let is_ours = |agency: Option<u32>| agency.is_none_or(|a| (least..=most).contains(&a));
        if natures().any(|(_, of)| !is_ours(of.agency) || of.answer == Answer::Winners) {
            return;
        }
        for (line, nature) in natures() {
            self.tally.lines += 1;
            if nature.answer != Answer::Nothing {
                self.asked.push_back((nature.answer, line.to_vec()));
            }
        }
        bytes.append(&mut made);
    }

    fn compare(&mut self, wanted: Answer, asked: &[u8], answer: &[u8]) {
        let of =
            || format!("{:?} to {:?}", answer.escape_ascii().to_string(), asked.escape_ascii());
        let Some(text) = std::str::from_utf8(answer).ok().filter(|text| wanted.fits(text)) else {
            return self.find(format!("the answer {}", of()));
        };
        let is_stored = matches!(wanted, Answer::Store | Answer::StoreRows)
            && text.split_once(':').is_some_and(|(_, body)| body.starts_with('0'));
        if is_stored {
            let stored = &mut self.tally.stored;
            if let Err(reason) = self.agencies.acknowledge(asked, text, stored) {
                self.find(format!("the answer {}: {reason}", of()));
            }
        }
    }

    fn find(&mut self, finding: String) {
        self.tally.findings.push(finding);
    }
}
