//! How fast lines are refused, over all connections together.
//!
//! Refusing a line asks no store and waits for nothing, so whoever sends such lines could take as
//! much of the processors as there is, from agencies that store. Here they wait for each other
//! instead, in the order in which they came: a connection has one line in the queue, so each gets
//! as much as any other, and one bad line waits for no more than one line of everybody else.
//! What stores bets never comes here, nor does a close that is new or a request for winners. What
//! else is executed comes after its answer, before the next line of its connection, and several
//! times: it costs more. The first of a connection does not come: agencies that connect in a crowd
//! and ask what is stored do not wait for each other.
//!
//! **Invariant**: in any second no more than [`REFUSALS_PER_SECOND_MAX`] go on. While they are
//! fewer nobody waits, and no timer runs; otherwise one does, whatever the length of the queue.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::limits::{
    REFUSALS_AT_ONCE_MAX, REFUSALS_PER_SECOND_MAX, REFUSED_BYTES, TURN_WEIGHT_MAX,
};

/// How long it takes until there may be one more.
const INTERVAL: Duration = Duration::from_nanos(
    1_000_000_000_u64.div_ceil((REFUSALS_PER_SECOND_MAX - REFUSALS_AT_ONCE_MAX) as u64),
);

/// How long it takes until as many as there may be at once are due again.
const FILL: Duration = INTERVAL.saturating_mul(REFUSALS_AT_ONCE_MAX);

/// The queue of those that are to be refused; the first one in it has the bucket.
#[derive(Debug)]
pub struct Pace(Mutex<Bucket>);

/// How many may go on at once now, told by when it will be as many as possible.
#[derive(Debug)]
struct Bucket {
    full_at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Bucket { full_at: Instant::now() }))
    }
}

impl Pace {
    /// Whether so many bytes may be refused without waiting. Nobody is overtaken.
    pub fn try_pass(&self, bytes: usize) -> bool {
        self.0.try_lock().is_ok_and(|mut bucket| bucket.take(Instant::now(), weight(bytes)))
    }

    /// Waits until so many bytes may be refused. Whoever no longer waits has never been there.
    pub async fn pass(&self, bytes: usize) {
        let mut bucket = self.0.lock().await;
        while !bucket.take(Instant::now(), weight(bytes)) {
            // Then many go on: one timer for all of them.
            sleep_until(bucket.full_at).await;
        }
    }
}

/// As how many lines a line of so many bytes counts.
fn weight(bytes: usize) -> u32 {
    let more = u32::try_from(bytes / REFUSED_BYTES).unwrap_or(u32::MAX);
    more.saturating_add(1).min(TURN_WEIGHT_MAX)
}

impl Bucket {
    fn take(&mut self, now: Instant, weight: u32) -> bool {
        let full_at = self.full_at.max(now) + INTERVAL * weight;
        let is_there = full_at - now <= FILL;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LARGE_SLOT_BYTES;
    use proptest::prelude::*;
    use std::sync::Arc;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    const SECOND: Duration = Duration::from_secs(1);

    /// The most in any second of what passed, each with its time and weight, in order.
    fn most_in_a_second(passed: &[(Instant, u32)]) -> u32 {
        let (mut most, mut sum, mut from) = (0, 0, 0);
        for &(at, weight) in passed {
            sum += weight;
            while at - passed[from].0 >= SECOND {
                sum -= passed[from].1;
                from += 1;
            }
            most = most.max(sum);
        }
        most
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_limit_whenever_they_come(
            lines in prop::collection::vec((0_u64..1_000_000, 0_usize..70_000), 100..4_000),
        ) {
            let mut now = Instant::now();
            let mut bucket = Bucket { full_at: now };
            let mut passed = Vec::new();
            for (nanoseconds, bytes) in lines {
                now += Duration::from_nanos(nanoseconds);
                if bucket.take(now, weight(bytes)) {
                    passed.push((now, weight(bytes)));
                }
            }
            prop_assert!(most_in_a_second(&passed) <= REFUSALS_PER_SECOND_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_does_not_wait() {
        let (pace, started) = (Pace::default(), Instant::now());
        for bytes in [0, 8, LARGE_SLOT_BYTES] {
            assert!(pace.try_pass(bytes));
            pace.pass(bytes).await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_goes_on_at_the_limit_and_each_connection_has_its_share() {
        const CONNECTIONS: u32 = 1_000;
        let (pace, started) = (Arc::new(Pace::default()), Instant::now());
        // Those that may come at once may all be one connection's.
        while pace.try_pass(0) {}
        let mut all = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let pace = Arc::clone(&pace);
            all.spawn(async move {
                let mut passed = Vec::new();
                while started.elapsed() < 3 * SECOND {
                    pace.pass(8).await;
                    passed.push((Instant::now(), 1));
                }
                passed
            });
        }
        let all = all.join_all().await;
        let counts = || all.iter().map(Vec::len);
        assert!(counts().max().unwrap() - counts().min().unwrap() <= 1, "fair");
        let mut passed = all.concat();
        passed.sort();
        let most = most_in_a_second(&passed);
        let least = REFUSALS_PER_SECOND_MAX / 10 * 8;
        assert!((least..=REFUSALS_PER_SECOND_MAX).contains(&most), "{most} in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn they_go_on_in_order_and_none_waits_longer_than_those_before_take() {
        let (pace, started) = (Arc::new(Pace::default()), Instant::now());
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut weights = 0;
        for place in 0..3_000 {
            let bytes = place * 7_919 % LARGE_SLOT_BYTES;
            weights += weight(bytes);
            // A timer is good to a millisecond, and the last one has as many weights to spare.
            let latest = INTERVAL * weights + Duration::from_millis(1) * weights / 100 + FILL;
            let (pace, told) = (Arc::clone(&pace), told.clone());
            let waiting = async move {
                pace.pass(bytes).await;
                assert!(started.elapsed() <= latest, "{:?}", started.elapsed());
                told.send(place).unwrap();
            };
            let mut waiting = Box::pin(waiting);
            // Polled here, so that they come in this order.
            if timeout(Duration::ZERO, waiting.as_mut()).await.is_err() {
                tokio::spawn(waiting);
            }
        }
        drop(told);
        for place in 0..3_000 {
            assert_eq!(order.recv().await, Some(place));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_and_who_leaves_is_not_waited_for() {
        let pace = Pace::default();
        while pace.try_pass(LARGE_SLOT_BYTES) {}
        let mut first = Box::pin(pace.pass(LARGE_SLOT_BYTES));
        assert!(timeout(Duration::ZERO, first.as_mut()).await.is_err());
        tokio::time::advance(SECOND).await;
        assert!(!pace.try_pass(8), "one is before it");
        drop(first);
        assert!(pace.try_pass(8));
    }
}
