//! The ordinary load: agencies that store batches in a closed loop, on a thread of their own.
//!
//! **Invariant**: every answer is checked, and a row counts only when its answer has come.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use harness::raw_connection::RawConnection;

/// The numbers of the agencies of the ordinary load. No attack names one of them.
pub const AGENCIES: [u32; 4] = [90_001, 90_002, 90_003, 90_004];

/// How long an answer may take: a server that lets anybody wait longer has not held.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many different batches an ordinary agency sends, over and over.
const BATCHES: u64 = 16;

/// How many bets a batch has.
pub const BATCH_ROWS: u64 = 100;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Store,
    Rest,
    End,
}

/// The running load.
#[derive(Debug)]
pub struct Ordinary {
    pace: watch::Sender<Pace>,
    stored: Arc<AtomicU64>,
    waits: Arc<Waits>,
    thread: JoinHandle<anyhow::Result<Vec<(u32, u64)>>>,
}

impl Ordinary {
    /// Starts it on the server at `address`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (pace, follow) = watch::channel(Pace::Store);
        let (stored, waits) = (Arc::default(), Arc::new(Waits::default()));
        let agent =
            Agent { address, pace: follow, stored: Arc::clone(&stored), waits: Arc::clone(&waits) };
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.context("start the load")?.block_on(agent.run_all())
        };
        let thread = std::thread::Builder::new().name("ordinary".to_owned()).spawn(run);
        Ok(Self { pace, stored, waits, thread: thread.context("start the load")? })
    }

    /// How many rows were acknowledged so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// The longest that an answer took since this was last asked, or that one is waited for now.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.waits.slowest()
    }

    /// Whether it has ended by itself, which only a failure does.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has it send nothing until it goes on.
    pub fn rest(&self) {
        self.pace.send_replace(Pace::Rest);
    }

    /// Has it store again.
    pub fn go_on(&self) {
        self.pace.send_replace(Pace::Store);
    }

    /// Ends it, and gives how many rows each agency has stored.
    ///
    /// # Errors
    /// An answer was wrong, or did not come.
    pub async fn end(self) -> anyhow::Result<Vec<(u32, u64)>> {
        self.pace.send_replace(Pace::End);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        joined.context("follow the load")?.map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

/// How long the agencies wait for their answers.
#[derive(Debug, Default)]
struct Waits(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// Since when each agency waits that does.
    since: HashMap<u32, Instant>,
    slowest: Duration,
}

impl Waits {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, agency: u32) {
        self.lock().since.insert(agency, Instant::now());
    }

    fn end(&self, agency: u32) {
        let mut asked = self.lock();
        if let Some(since) = asked.since.remove(&agency) {
            asked.slowest = asked.slowest.max(since.elapsed());
        }
    }

    fn slowest(&self) -> Duration {
        let mut asked = self.lock();
        let pending = asked.since.values().map(Instant::elapsed).max().unwrap_or_default();
        std::mem::take(&mut asked.slowest).max(pending)
    }
}

/// One agency, or the pattern of all.
#[derive(Debug, Clone)]
struct Agent {
    address: SocketAddr,
    pace: watch::Receiver<Pace>,
    stored: Arc<AtomicU64>,
    waits: Arc<Waits>,
}

impl Agent {
    async fn run_all(self) -> anyhow::Result<Vec<(u32, u64)>> {
        let mut agents: JoinSet<_> =
            AGENCIES.into_iter().map(|agency| self.clone().run(agency)).collect();
        let mut rows = Vec::new();
        while let Some(joined) = agents.join_next().await {
            rows.push(joined.context("follow an agency")??);
        }
        Ok(rows)
    }

    async fn run(mut self, agency: u32) -> anyhow::Result<(u32, u64)> {
        let batches = ordinary_batches(agency);
        let mut connection = RawConnection::open(self.address).await?;
        let (mut packet, mut sent) = (Vec::new(), 0);
        for batch in batches.iter().cycle() {
            let pace = self.pace.wait_for(|pace| *pace != Pace::Rest).await;
            if pace.map(|pace| *pace).unwrap_or(Pace::End) == Pace::End {
                break;
            }
            packet.clear();
            writeln!(packet, "StoreRows:{agency};{}{batch}", sent + 1).context("write a packet")?;
            self.waits.begin(agency);
            connection.send(&packet).await?;
            let answer = timeout(ANSWER_TIMEOUT, connection.line()).await;
            let answer = answer.context("an ordinary agency is not answered")??;
            sent += BATCH_ROWS;
            let stored = format!("StoreRowsResponse:0;{sent};");
            ensure!(answer.starts_with(&stored), "an ordinary agency is answered {answer:?}");
            self.stored.fetch_add(BATCH_ROWS, Ordering::Relaxed);
            self.waits.end(agency);
        }
        Ok((agency, sent))
    }
}

/// The bet at `place`, from 0, of the ordinary agency `agency`.
#[must_use]
pub fn ordinary_bet(agency: u32, place: u64) -> [String; 5] {
    let place = place % (BATCHES * BATCH_ROWS);
    [
        format!("María {place}"),
        "Núñez".to_owned(),
        format!("{agency}{place}"),
        "1990-05-17".to_owned(),
        (place % 7_000).to_string(),
    ]
}

/// The batches of an ordinary agency as they stand on the wire, without the packet's head.
#[must_use]
pub fn ordinary_batches(agency: u32) -> Vec<String> {
    let batch = |batch: u64| {
        let mut text = String::new();
        for place in batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS {
            let _ = write!(text, ":{}", ordinary_bet(agency, place).join(";"));
        }
        text
    };
    (0..BATCHES).map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_still_waits_counts_as_who_has_waited() {
        let (waits, second) = (Waits::default(), Duration::from_secs(1));
        waits.begin(1);
        tokio::time::advance(second).await;
        waits.begin(2);
        assert_eq!(waits.slowest(), second);
        tokio::time::advance(second).await;
        waits.end(2);
        assert_eq!(waits.slowest(), 2 * second, "the first one has no answer yet");
        waits.end(1);
        assert_eq!(waits.slowest(), 2 * second);
        assert_eq!(waits.slowest(), Duration::ZERO, "told already");
    }

    #[test]
    fn batches_hold_the_bets_in_order() {
        let batches = ordinary_batches(7);
        assert_eq!(batches.len() as u64, BATCHES);
        let second = ordinary_bet(7, BATCH_ROWS).join(";");
        assert!(batches.get(1).unwrap().starts_with(&format!(":{second}:")));
        assert_eq!(ordinary_bet(7, 0), ordinary_bet(7, BATCHES * BATCH_ROWS));
    }
}
