//! Numbers as people read them, and the middle of many.

use std::time::Duration;

use indicatif::HumanCount;

/// The middle one of `values`; of an even number, the mean of the middle two.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// `78697` as `78,697`.
#[must_use]
pub fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// How many of `count` there are in one second; 0 if no time has passed.
#[must_use]
pub fn per_second(count: u64, duration: Duration) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    (count * 1_000).checked_div(millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        for (values, wanted) in [(&[3.0][..], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 1.0], 2.5)] {
            assert_eq!(median(values), Some(wanted));
        }
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn numbers_are_grouped_and_rates_are_whole() {
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(per_second(10, Duration::ZERO), 0);
        assert_eq!(per_second(10, Duration::from_millis(500)), 20);
    }
}
