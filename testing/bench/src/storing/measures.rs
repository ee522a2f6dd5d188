//! What is measured of each contestant that stores.

use std::time::Duration;

use super::load::Spoken;
use crate::outcome::{BETS_PER_SECOND, MEMORY, Measure, Sample, Unit};

static P50: Measure = Measure::less("answer_p50_ms", "p50 ms", Unit::Milliseconds);
static P99: Measure = Measure::less("answer_p99_ms", "p99 ms", Unit::Milliseconds);
static P999: Measure = Measure::less("answer_p99_9_ms", "p99.9 ms", Unit::Milliseconds);

/// Processor time of the servers alone.
static PROCESSOR: Measure = Measure::less("processor_ns_per_bet", "CPU ns/bet", Unit::Nanoseconds);

/// The same of the load.
static LOAD: Measure = Measure::aside("load_ns_per_bet", "load ns/bet", Unit::Nanoseconds);

/// The measures of one round: of what was `spoken`, of the servers' `processor` time in it, and of
/// their `memory` in MiB.
#[must_use]
pub fn sample(spoken: Spoken, processor: Option<Duration>, memory: Option<f64>) -> Sample {
    let Spoken { bets, mut waits, elapsed, load } = spoken;
    waits.sort_unstable();
    let bets = bets as f64;
    let per_bet = |time: Duration| time.as_nanos() as f64 / bets;
    let mut sample = vec![
        (&BETS_PER_SECOND, bets / elapsed.as_secs_f64()),
        (&P50, percentile(&waits, 500)),
        (&P99, percentile(&waits, 990)),
        (&P999, percentile(&waits, 999)),
    ];
    sample.extend(processor.map(|time| (&PROCESSOR, per_bet(time))));
    sample.extend((load > Duration::ZERO).then(|| (&LOAD, per_bet(load))));
    sample.extend(memory.map(|mebibytes| (&MEMORY, mebibytes)));
    sample
}

/// That of `sorted`, in milliseconds, which `thousandths` of all do not exceed.
fn percentile(sorted: &[Duration], thousandths: usize) -> f64 {
    let place = (sorted.len() * thousandths).div_ceil(1_000).saturating_sub(1);
    sorted.get(place).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_by_bet_and_by_second() {
        let waits = (1..=1_000).rev().map(Duration::from_millis).collect();
        let (elapsed, load) = (Duration::from_secs(2), Duration::from_micros(10));
        let spoken = Spoken { bets: 100, waits, elapsed, load };
        let sample = sample(spoken, Some(Duration::from_micros(50)), Some(9.5));
        let values: Vec<f64> = sample.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [50.0, 500.0, 990.0, 999.0, 500.0, 100.0, 9.5]);
        assert_eq!(percentile(&[Duration::from_millis(7)], 999), 7.0);
    }
}
