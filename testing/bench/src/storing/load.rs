//! The load: agencies in a closed loop, each with one batch outstanding.
//!
//! All of them run on one thread. It shares the machine's cores with what it measures, so its own
//! processor time is measured too.
//!
//! **Invariant**: every answer is checked, and a bet counts only when its answer has come.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use harness::processes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::outcome::{BETS_PER_SECOND, MEMORY, Measure, Sample, Unit};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

static P50: Measure = Measure::less("answer_p50_ms", "p50 ms", Unit::Milliseconds);
static P99: Measure = Measure::less("answer_p99_ms", "p99 ms", Unit::Milliseconds);
static P999: Measure = Measure::less("answer_p99_9_ms", "p99.9 ms", Unit::Milliseconds);

/// Processor time of the servers alone.
static PROCESSOR: Measure = Measure::less("processor_ns_per_bet", "CPU ns/bet", Unit::Nanoseconds);

/// The same of the load.
static LOAD: Measure = Measure::aside("load_ns_per_bet", "load ns/bet", Unit::Nanoseconds);

/// An agency that stores one batch after another.
pub trait Agency: Send + 'static {
    /// Sends the next batch and waits for its answer. Gives how many bets the answer acknowledges.
    fn store(&mut self) -> impl Future<Output = anyhow::Result<u64>> + Send;
}

/// Connected agencies and the runtime of their connections.
pub struct Load<A> {
    agencies: Vec<A>,
    runtime: Option<Runtime>,
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
        sample.extend((!self.load.is_zero()).then(|| (&LOAD, per_bet(self.load))));
        sample.extend(memory.map(|mebibytes| (&MEMORY, mebibytes)));
        sample
    }
}

impl<A: Agency> Load<A> {
    /// Connects the agencies 1 to `count`.
    ///
    /// # Errors
    /// An agency cannot connect.
    pub async fn connect<C>(
        count: u32,
        mut connect: impl FnMut(u32) -> C + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        C: Future<Output = anyhow::Result<A>>,
    {
        let connecting = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("start the load")?;
            let connected = (1..=count).map(|agency| runtime.block_on(connect(agency)));
            let agencies = connected.collect::<anyhow::Result<_>>()?;
            Ok(Self { agencies, runtime: Some(runtime), acknowledged: 0 })
        });
        connecting.await.context("connect the load")?
    }

    /// How many bets were acknowledged in all rounds.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// One round of `time`, with the servers' processor time in it, by what `processor_time` says
    /// before and after.
    ///
    /// # Errors
    /// An answer is wrong or does not come, or a server is gone.
    pub async fn round(
        &mut self,
        time: Duration,
        processor_time: impl Fn() -> anyhow::Result<Duration>,
    ) -> anyhow::Result<(Round, Duration)> {
        let before = processor_time()?;
        let agencies = std::mem::take(&mut self.agencies);
        let runtime = self.runtime.take().context("the load has failed before")?;
        let loading = tokio::task::spawn_blocking(move || {
            let stored =
                runtime.block_on(timeout(time + ANSWER_TIMEOUT, store_all(agencies, time)));
            let (agencies, round) = stored.context("an answer does not come")??;
            anyhow::Ok((agencies, runtime, round))
        });
        let (agencies, runtime, round) = loading.await.context("follow the load")??;
        self.agencies = agencies;
        self.runtime = Some(runtime);
        self.acknowledged += round.bets;
        Ok((round, processor_time()?.saturating_sub(before)))
    }
}

impl<A> Drop for Load<A> {
    /// A runtime must not be dropped on a thread of another one.
    fn drop(&mut self) {
        self.agencies.clear();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn store_all<A: Agency>(agencies: Vec<A>, time: Duration) -> anyhow::Result<(Vec<A>, Round)> {
    let before = processes::this_thread().context("measure the load")?;
    let start = Instant::now();
    let storing = agencies.into_iter().map(|agency| store(agency, start, time));
    let mut storing: JoinSet<_> = storing.collect();
    let (mut agencies, mut all) = (Vec::new(), Round::new());
    while let Some(joined) = storing.join_next().await {
        let (agency, round) = joined.context("follow an agency")??;
        agencies.push(agency);
        all.bets += round.bets;
        all.waits.add(round.waits).context("add histograms")?;
    }
    all.elapsed = start.elapsed();
    all.load = processes::this_thread().context("measure the load")?.saturating_sub(before);
    Ok((agencies, all))
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
