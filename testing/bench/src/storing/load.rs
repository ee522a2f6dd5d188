//! The load: agencies in a closed loop, each with one batch outstanding.
//!
//! All of them run on one thread, which does nothing else meanwhile. It shares the machine's cores with what it measures, so its own
//! processor time is measured too.
//!
//! **Invariant**: every answer is checked, and a bet counts only when its answer has come.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::processes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::results::{BETS_PER_SECOND, Better, MEMORY, Measure, Sample, Unit};
use crate::turns::{Contestant, Pending};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

static P50: Measure = Measure::less("answer_p50_ms", "p50 ms", Unit::Milliseconds);
static P99: Measure = Measure::less("answer_p99_ms", "p99 ms", Unit::Milliseconds);
static P999: Measure = Measure::less("answer_p99_9_ms", "p99.9 ms", Unit::Milliseconds);

/// Processor time of the servers alone.
static PROCESSOR: Measure = Measure::less("processor_ns_per_bet", "CPU ns/bet", Unit::Nanoseconds);

/// The same of the load.
static LOAD: Measure = Measure {
    name: "load_ns_per_bet",
    heading: "load ns/bet",
    unit: Unit::Nanoseconds,
    better: Better::Neither,
};

/// An agency that stores one batch after another.
pub trait Agency: Send + 'static {
    /// Sends the next batch and waits for its answer. Gives how many bets the answer acknowledges.
    fn store(&mut self) -> impl Future<Output = anyhow::Result<u64>> + Send;
}

/// What a store takes of the machine, if that can be seen.
#[derive(Debug, Default)]
pub struct Usage {
    /// Its processor time so far.
    pub processor: Option<Duration>,
    /// The most memory of one of its processes, in MiB.
    pub memory: Option<f64>,
}

/// What stores the bets of a load.
pub trait Store {
    /// What it takes of the machine.
    ///
    /// # Errors
    /// It has ended.
    fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage::default())
    }

    /// Why a round failed; agencies may only see that their connections end.
    fn reason(&mut self, error: anyhow::Error) -> anyhow::Error {
        error
    }

    /// Ends it when all agencies are gone. Gives how many bets all rounds have left in it, if that
    /// can be seen.
    ///
    /// # Errors
    /// It does not end in order, or cannot be counted.
    async fn finish(self) -> anyhow::Result<Option<u64>>;
}

/// A store and the agencies that load it.
pub struct Loaded<S, A> {
    /// The store.
    pub store: S,
    /// Its agencies.
    pub load: Load<A>,
}

impl<S: Store, A: Agency> Contestant for Loaded<S, A> {
    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(async move {
            let before = self.store.usage()?.processor.unwrap_or_default();
            let round = self.load.round(time).await;
            let round = round.map_err(|error| self.store.reason(error))?;
            let Usage { processor, memory } = self.store.usage()?;
            Ok(round.sample(processor.map(|after| after.saturating_sub(before)), memory))
        })
    }

    fn finish<'c>(self: Box<Self>) -> Pending<'c, ()>
    where
        Self: 'c,
    {
        Box::pin(async move {
            let Self { store, load } = *self;
            let acknowledged = load.acknowledged;
            drop(load);
            let stored = store.finish().await?.unwrap_or(acknowledged);
            ensure!(
                stored == acknowledged,
                "{stored} bets are stored, {acknowledged} acknowledged"
            );
            Ok(())
        })
    }
}

/// Connected agencies.
pub struct Load<A> {
    agencies: Vec<A>,
    /// How many bets were acknowledged in all rounds.
    acknowledged: u64,
}

/// What one round came to.
#[derive(Debug)]
pub struct Round {
    /// Acknowledged bets.
    pub bets: u64,
    /// From sending a batch to its answer, in nanoseconds.
    pub waits: Histogram<u64>,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// Processor time of the load itself.
    pub load: Duration,
}

impl Round {
    /// A round without any bets.
    #[must_use]
    pub fn new() -> Self {
        let waits = Histogram::new(3).expect("three digits are allowed");
        Self { bets: 0, waits, elapsed: Duration::ZERO, load: Duration::ZERO }
    }

    /// Counts an answer.
    pub fn add(&mut self, bets: u64, wait: Duration) {
        self.bets += bets;
        // It grows with what is recorded: only a wait of more than 584 years would not fit.
        let _ = self.waits.record(wait.as_nanos() as u64);
    }

    /// Its measures, with the servers' `processor` time in it and their `memory` in MiB.
    #[must_use]
    pub fn sample(&self, processor: Option<Duration>, memory: Option<f64>) -> Sample {
        let bets = self.bets as f64;
        let per_bet = |time: Duration| time.as_nanos() as f64 / bets;
        let percentile = |quantile| self.waits.value_at_quantile(quantile) as f64 / 1e6;
        let mut sample = vec![
            (&BETS_PER_SECOND, bets / self.elapsed.as_secs_f64()),
            (&P50, percentile(0.5)),
            (&P99, percentile(0.99)),
            (&P999, percentile(0.999)),
        ];
        sample.extend(processor.map(|time| (&PROCESSOR, per_bet(time))));
        sample.push((&LOAD, per_bet(self.load)));
        sample.extend(memory.map(|mebibytes| (&MEMORY, mebibytes)));
        sample
    }
}

impl<A: Agency> Load<A> {
    /// The load of these agencies.
    #[must_use]
    pub fn new(agencies: Vec<A>) -> Self {
        Self { agencies, acknowledged: 0 }
    }

    /// One round of `time`.
    ///
    /// # Errors
    /// An answer is wrong or does not come.
    pub async fn round(&mut self, time: Duration) -> anyhow::Result<Round> {
        let before = processes::this_thread().context("measure the load")?;
        let start = Instant::now();
        let storing = self.agencies.drain(..).map(|agency| store(agency, start, time));
        let mut storing: JoinSet<_> = storing.collect();
        let mut all = Round::new();
        let joining = async {
            while let Some(joined) = storing.join_next().await {
                let (agency, round) = joined.context("follow an agency")??;
                self.agencies.push(agency);
                all.bets += round.bets;
                all.waits.add(round.waits).context("add histograms")?;
            }
            anyhow::Ok(())
        };
        timeout(time + ANSWER_TIMEOUT, joining).await.context("an answer does not come")??;
        all.elapsed = start.elapsed();
        all.load = processes::this_thread().context("measure the load")?.saturating_sub(before);
        self.acknowledged += all.bets;
        Ok(all)
    }
}

async fn store<A: Agency>(
    mut agency: A,
    start: Instant,
    time: Duration,
) -> anyhow::Result<(A, Round)> {
    let mut round = Round::new();
    while start.elapsed() < time {
        let sent = Instant::now();
        round.add(agency.store().await?, sent.elapsed());
    }
    Ok((agency, round))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_by_bet_and_by_second() {
        let mut round = Round::new();
        (1..=1_000).rev().for_each(|millis| round.add(0, Duration::from_millis(millis)));
        round.bets = 100;
        (round.elapsed, round.load) = (Duration::from_secs(2), Duration::from_micros(10));
        let sample = round.sample(Some(Duration::from_micros(50)), Some(9.5));
        for ((measure, value), wanted) in
            sample.iter().zip([50.0, 500.0, 990.0, 999.0, 500.0, 100.0, 9.5])
        {
            assert!((value / wanted - 1.0).abs() < 0.001, "{} {value}", measure.name);
        }
        assert_eq!(sample.len(), 7);
    }
}
