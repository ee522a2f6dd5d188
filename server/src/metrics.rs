//! What an instance counts while it runs: plain atomics, passed down as one `Arc<Metrics>` to what
//! counts.
//!
//! Counting takes no lock and never waits. The figures are for people: nothing in the server decides
//! by them, so relaxed order is enough, and figures that are read together may be a moment apart.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use protocol::PacketType;
use tracing::info;

/// The upper bounds of a histogram's buckets, in microseconds; one more bucket takes what is longer.
pub const BUCKET_MICROSECONDS: [u64; 10] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Packets by name. `unknown` is what is no packet.
const PACKETS: [&str; 7] = [
    "StoreBet",
    "StoreBatch",
    "StoreRows",
    "AgencyClose",
    "AgencyStatus",
    "WinnersRequest",
    "unknown",
];

/// The first words of refusals: those of [`protocol::Refusal`], and those of `Error:`.
const WORDS: [&str; 9] =
    ["agency", "invalid", "closed", "drawn", "gap", "overlap", "short", "busy", "unknown"];

/// How a packet ended. The order is that of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketOutcome {
    /// It stored bets or a close.
    Stored,
    /// It was a question that was answered, or what it asks to store was stored earlier.
    Answered,
    /// It was refused, or the server could not do it.
    Refused,
    /// The connection was closed without an answer.
    Unanswered,
}

const OUTCOMES: [&str; 4] = ["stored", "answered", "refused", "unanswered"];

/// The figures of one instance since its start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that were accepted.
    pub connections_accepted: Counter,
    /// Connections that are open now.
    pub connections_open: Gauge,
    /// Packets by type and outcome.
    pub packets: Packets,
    /// Refusals by their first word, where the answer has one.
    pub refusals: Refusals,
    /// Bets that this instance stored.
    pub bets: Counter,
    /// Batches that this instance stored.
    pub batches: Counter,
    /// Bytes that this instance appended to `bets.csv`.
    pub bytes: Counter,
    /// Commits of batches, and how long the sync of each took.
    pub syncs: Histogram,
    /// How long the volume's locks were waited for, each time.
    pub lock_waits: Histogram,
    /// Requests that wait for the store, or that it works on, now.
    pub queue_length: Gauge,
}

impl Metrics {
    /// Counts the commit of a group in which so many batches were new, unless none was.
    pub fn count_commit(&self, batches: usize, bets: usize, bytes: usize, sync_took: Duration) {
        self.batches.add(batches as u64);
        self.bets.add(bets as u64);
        self.bytes.add(bytes as u64);
        if batches > 0 {
            self.syncs.record(sync_took);
        }
    }

    /// Logs all figures in one line, when the instance ends.
    pub fn log(&self) {
        info!(
            action = "metrics",
            result = "success",
            connections_accepted = self.connections_accepted.get(),
            connections_open = self.connections_open.get(),
            packets = %self.packets,
            refusals = %self.refusals,
            bets = self.bets.get(),
            batches = self.batches.get(),
            bytes = self.bytes.get(),
            syncs = %self.syncs,
            lock_waits = %self.lock_waits,
            queue_length = self.queue_length.get(),
        );
    }
}

/// A figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The sum of what was added.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A figure that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one, until what is returned is dropped.
    pub fn hold(&self) -> GaugeGuard<'_> {
        self.0.fetch_add(1, Relaxed);
        GaugeGuard(self)
    }

    /// The figure now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct GaugeGuard<'g>(&'g Gauge);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// Durations, counted by buckets of fixed bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKET_MICROSECONDS.len() + 1],
    microseconds: Counter,
}

impl Histogram {
    /// Counts a duration in the first bucket that it does not exceed.
    pub fn record(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_MICROSECONDS.partition_point(|bound| *bound < microseconds);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.microseconds.add(microseconds);
    }

    /// How many durations were counted in each bucket: those of [`BUCKET_MICROSECONDS`], then the
    /// longer ones.
    pub fn buckets(&self) -> [u64; BUCKET_MICROSECONDS.len() + 1] {
        self.buckets.each_ref().map(Counter::get)
    }
}

impl fmt::Display for Histogram {
    /// How many, their mean, and the buckets that have any: `12 of 800 us (<=500 us: 4, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = self.buckets();
        let count: u64 = buckets.iter().sum();
        if count == 0 {
            return f.write_str("0");
        }
        let bounds = BUCKET_MICROSECONDS.iter().map(|bound| format!("<={bound} us"));
        let names = bounds.chain(["longer".to_owned()]);
        let filled = names.zip(buckets).filter(|(_, count)| *count > 0);
        let filled: Vec<_> = filled.map(|(name, count)| format!("{name}: {count}")).collect();
        let mean = self.microseconds.get() / count;
        write!(f, "{count} of {mean} us ({})", filled.join(", "))
    }
}

/// Packets by type and outcome.
#[derive(Debug, Default)]
pub struct Packets([[Counter; OUTCOMES.len()]; PACKETS.len()]);

impl Packets {
    /// Counts a packet; `None` is a line that is no packet.
    pub fn count(&self, packet: Option<PacketType>, outcome: PacketOutcome) {
        let name = packet.map_or("unknown", PacketType::name);
        self.counter(name, outcome).inspect(|counter| counter.add(1));
    }

    /// How many packets of this name (`unknown` for what is no packet) ended so.
    pub fn get(&self, name: &str, outcome: PacketOutcome) -> u64 {
        self.counter(name, outcome).map_or(0, Counter::get)
    }

    fn counter(&self, name: &str, outcome: PacketOutcome) -> Option<&Counter> {
        let packet = PACKETS.iter().position(|known| *known == name)?;
        self.0.get(packet)?.get(outcome as usize)
    }
}

impl fmt::Display for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = PACKETS.iter().zip(&self.0).flat_map(|(packet, counters)| {
            let outcomes = OUTCOMES.iter().zip(counters);
            outcomes.map(move |(outcome, counter)| (format!("{packet} {outcome}"), counter.get()))
        });
        f.write_str(&counted(each))
    }
}

/// Refusals by the first word of their reason.
#[derive(Debug, Default)]
pub struct Refusals([Counter; WORDS.len()]);

impl Refusals {
    /// Counts a refusal by the first word of `reason`.
    pub fn count(&self, reason: &str) {
        self.counter(reason).inspect(|counter| counter.add(1));
    }

    /// How many refusals began with this word.
    pub fn get(&self, word: &str) -> u64 {
        self.counter(word).map_or(0, Counter::get)
    }

    fn counter(&self, reason: &str) -> Option<&Counter> {
        let word = reason.split(' ').next()?;
        self.0.get(WORDS.iter().position(|known| *known == word)?)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = WORDS.iter().zip(&self.0);
        f.write_str(&counted(each.map(|(word, counter)| (word.to_string(), counter.get()))))
    }
}

/// The counts that are not 0 with their names, or `0` if all are.
fn counted(counts: impl Iterator<Item = (String, u64)>) -> String {
    let counted = counts.filter(|(_, count)| *count > 0);
    let text: Vec<_> = counted.map(|(name, count)| format!("{name} {count}")).collect();
    if text.is_empty() { "0".to_owned() } else { text.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        assert_eq!(histogram.to_string(), "0");
        for microseconds in [0, 100, 101, 1_000_000, 1_000_001] {
            histogram.record(Duration::from_micros(microseconds));
        }
        assert_eq!(histogram.buckets(), [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        let text = "5 of 400040 us (<=100 us: 2, <=250 us: 1, <=1000000 us: 1, longer: 1)";
        assert_eq!(histogram.to_string(), text);
    }

    #[test]
    fn packets_count_by_type_and_outcome_and_refusals_by_their_first_word() {
        let metrics = Metrics::default();
        metrics.packets.count(Some(PacketType::StoreRows), PacketOutcome::Stored);
        metrics.packets.count(Some(PacketType::DeclaredClose), PacketOutcome::Refused);
        metrics.packets.count(None, PacketOutcome::Refused);
        assert_eq!(metrics.packets.get("StoreRows", PacketOutcome::Stored), 1);
        let text = "StoreRows stored 1, AgencyClose refused 1, unknown refused 1";
        assert_eq!(metrics.packets.to_string(), text);
        metrics.refusals.count("gap row 3 comes next, not row 4");
        metrics.refusals.count("unknown packet");
        assert_eq!((metrics.refusals.get("gap"), metrics.refusals.get("overlap")), (1, 0));
        assert_eq!(metrics.refusals.to_string(), "gap 1, unknown 1");
    }

    #[test]
    fn a_gauge_counts_what_is_held_until_it_is_dropped() {
        let gauge = Gauge::default();
        let held = (gauge.hold(), gauge.hold());
        assert_eq!(gauge.get(), 2);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
