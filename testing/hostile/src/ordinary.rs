//! The ordinary load: agencies that store batches in a closed loop, on a thread of their own.
//!
//! **Invariant**: every answer is checked, and a row counts only when its answer has come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What an agency did.
#[derive(Debug)]
pub struct Agency {
    /// Its number.
    pub number: u32,
    /// How many rows it has stored.
    pub rows: u64,
    /// The longest that it waited for an answer.
    pub slowest: Duration,
}

/// The running load.
#[derive(Debug)]
pub struct Ordinary {
    pace: watch::Sender<Pace>,
    stored: Arc<AtomicU64>,
    ended: oneshot::Receiver<anyhow::Result<Vec<Agency>>>,
}

impl Ordinary {
    /// Starts it on the server at `address`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (pace, follow) = watch::channel(Pace::Store);
        let stored = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&stored);
        let ended = on_thread("ordinary", async move || {
            let run = |number| run_agency(number, address, follow.clone(), Arc::clone(&shared));
            let mut running: JoinSet<_> = AGENCIES.map(run).into_iter().collect();
            drop(follow);
            let mut agencies = Vec::new();
            while let Some(joined) = running.join_next().await {
                agencies.push(joined.context("follow an agency")??);
            }
            Ok(agencies)
        })?;
        Ok(Self { pace, stored, ended })
    }

    /// How many rows were acknowledged so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
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

    /// Ends it, and returns what each agency did.
    ///
    /// # Errors
    /// An answer was wrong, or did not come.
    pub async fn end(self) -> anyhow::Result<Vec<Agency>> {
        self.pace.send_replace(Pace::End);
        self.ended.await.context("the load's thread panicked")?
    }
}

async fn run_agency(
    number: u32,
    address: SocketAddr,
    mut pace: watch::Receiver<Pace>,
    stored: Arc<AtomicU64>,
) -> anyhow::Result<Agency> {
    let batches = batches(number);
    let mut connection = RawConnection::open(address).await?;
    let mut agency = Agency { number, rows: 0, slowest: Duration::ZERO };
    for batch in batches.iter().cycle() {
        let next = pace.wait_for(|pace| *pace != Pace::Rest).await;
        if next.map_or(Pace::End, |pace| *pace) == Pace::End {
            break;
        }
        let start = Instant::now();
        connection.send(format!("StoreRows:{number};{}{batch}\n", agency.rows + 1)).await?;
        let answer = timeout(ANSWER_TIMEOUT, connection.line()).await;
        let answer = answer.context("an ordinary agency is not answered")??;
        agency.rows += BATCH_ROWS;
        agency.slowest = agency.slowest.max(start.elapsed());
        let wanted = format!("StoreRowsResponse:0;{};", agency.rows);
        ensure!(answer.starts_with(&wanted), "an ordinary agency is answered {answer:?}");
        stored.fetch_add(BATCH_ROWS, Ordering::Relaxed);
    }
    Ok(agency)
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
