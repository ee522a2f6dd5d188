//! The ordinary load: agencies that store batches in a closed loop, on a thread of their own.
//!
//! **Invariant**: every answer is checked, and a row counts only when its answer has come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::run::on_thread;
use harness::raw_connection::RawConnection;

/// The numbers of the agencies of the ordinary load. No attack names one of them.
const AGENCIES: [u32; 4] = [90_001, 90_002, 90_003, 90_004];

/// The longest time that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many different batches an ordinary agency sends, over and over.
const BATCHES: u64 = 16;

/// How many bets a batch has.
const BATCH_ROWS: u64 = 100;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Store,
    Rest,
    End,
}

/// How many rows each agency has stored.
type Rows = Vec<(u32, u64)>;

/// The running load.
#[derive(Debug)]
pub struct Ordinary {
    pace: watch::Sender<Pace>,
    progress: Progress,
    ended: oneshot::Receiver<anyhow::Result<Rows>>,
}

impl Ordinary {
    /// Starts it on the server at `address`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (pace, follow) = watch::channel(Pace::Store);
        let progress = Progress::default();
        let shared = progress.clone();
        let ended = on_thread("ordinary", async move || {
            let mut agents = JoinSet::new();
            for agency in AGENCIES {
                agents.spawn(run_agency(agency, address, follow.clone(), shared.clone()));
            }
            drop(follow);
            let mut rows = Vec::new();
            while let Some(joined) = agents.join_next().await {
                rows.push(joined.context("follow an agency")??);
            }
            Ok(rows)
        })?;
        Ok(Self { pace, progress, ended })
    }

    /// How many rows were acknowledged so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.progress.lock().stored
    }

    /// The longest that an answer took since the last call, or that one is waited for now.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.progress.slowest()
    }

    /// Whether it has ended by itself, which only a failure does.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.pace.is_closed()
    }

    /// Sends nothing from now on, until [`Self::go_on`].
    pub fn rest(&self) {
        self.pace.send_replace(Pace::Rest);
    }

    /// Stores again.
    pub fn go_on(&self) {
        self.pace.send_replace(Pace::Store);
    }

    /// Ends it, and returns how many rows each agency has stored.
    ///
    /// # Errors
    /// An answer was wrong, or did not come.
    pub async fn end(self) -> anyhow::Result<Rows> {
        self.pace.send_replace(Pace::End);
        self.ended.await.context("the load's thread panicked")?
    }
}

/// What all agencies have stored, and how long they wait for their answers.
#[derive(Debug, Clone, Default)]
struct Progress(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    stored: u64,
    /// Since when each agency waits, of those that do.
    since: HashMap<u32, Instant>,
    slowest: Duration,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, agency: u32) {
        self.lock().since.insert(agency, Instant::now());
    }

    fn end(&self, agency: u32) {
        let mut counts = self.lock();
        counts.stored += BATCH_ROWS;
        let waited = counts.since.remove(&agency).map_or(Duration::ZERO, |since| since.elapsed());
        counts.slowest = counts.slowest.max(waited);
    }

    fn slowest(&self) -> Duration {
        let mut counts = self.lock();
        let pending = counts.since.values().map(Instant::elapsed).max().unwrap_or_default();
        std::mem::take(&mut counts.slowest).max(pending)
    }
}

async fn run_agency(
    agency: u32,
    address: SocketAddr,
    mut pace: watch::Receiver<Pace>,
    progress: Progress,
) -> anyhow::Result<(u32, u64)> {
    let batches = batches(agency);
    let mut connection = RawConnection::open(address).await?;
    let mut sent = 0;
    for batch in batches.iter().cycle() {
        let next = pace.wait_for(|pace| *pace != Pace::Rest).await;
        if next.map_or(Pace::End, |pace| *pace) == Pace::End {
            break;
        }
        let packet = format!("StoreRows:{agency};{}{batch}\n", sent + 1);
        progress.begin(agency);
        connection.send(packet).await?;
        let answer = timeout(ANSWER_TIMEOUT, connection.line()).await;
        let answer = answer.context("an ordinary agency is not answered")??;
        sent += BATCH_ROWS;
        let stored = format!("StoreRowsResponse:0;{sent};");
        ensure!(answer.starts_with(&stored), "an ordinary agency is answered {answer:?}");
        progress.end(agency);
    }
    Ok((agency, sent))
}

/// The bet at `place`, from 0, of the ordinary agency `agency`.
#[must_use]
pub fn bet(agency: u32, place: u64) -> [String; 5] {
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
fn batches(agency: u32) -> Vec<String> {
    let wire = |place| format!(":{}", bet(agency, place).join(";"));
    let batch = |batch| (batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS).map(wire).collect();
    (0..BATCHES).map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pending_wait_counts_like_one_that_has_ended() {
        let (progress, second) = (Progress::default(), Duration::from_secs(1));
        progress.begin(1);
        tokio::time::advance(second).await;
        progress.begin(2);
        assert_eq!(progress.slowest(), second);
        tokio::time::advance(second).await;
        progress.end(2);
        assert_eq!(progress.slowest(), 2 * second, "the first one has no answer yet");
        progress.end(1);
        assert_eq!(progress.slowest(), 2 * second);
        assert_eq!(progress.slowest(), Duration::ZERO, "the wait was returned before");
    }
}
