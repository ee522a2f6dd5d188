//! How many messages a second are stored: each sender's own, and those of the instance. Who sends
//! more waits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::chat::Name;

use super::WAIT_MAX;
use crate::limits::{INSTANCE_MESSAGES_A_SECOND, SENDER_MESSAGES_A_SECOND};

/// A rate: when the next message would come at the latest if they came evenly. A second's worth may
/// come at once.
#[derive(Debug, Clone, Copy)]
struct Rate(Instant);

impl Rate {
    /// Takes a place; returns how long it has to be waited for, `None` if that is too long.
    fn reserve(&mut self, a_second: u32, now: Instant) -> Option<Duration> {
        let due = self.0.max(now);
        let wait = due.saturating_duration_since(now + Duration::from_secs(1));
        (wait <= WAIT_MAX).then(|| {
            self.0 = due + Duration::from_secs(1) / a_second;
            wait
        })
    }
}

/// The rates of an instance and of those who send through it.
#[derive(Debug)]
pub struct Rates(Mutex<(Rate, HashMap<Name, Rate>)>);

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new((Rate(Instant::now()), HashMap::new())))
    }
}

impl Rates {
    /// Takes a place for a message of `sender`; returns how long it has to be waited for, `None` if
    /// that is too long.
    pub fn reserve(&self, sender: &Name) -> Option<Duration> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, (instance, senders)) = (Instant::now(), &mut *rates);
        // Those who have been silent for a while need no place.
        if senders.len() >= INSTANCE_MESSAGES_A_SECOND as usize * 2 {
            senders.retain(|_, rate| rate.0 > now);
        }
        let own = senders.entry(sender.clone()).or_insert(Rate(now));
        let own = own.reserve(SENDER_MESSAGES_A_SECOND, now)?;
        Some(instance.reserve(INSTANCE_MESSAGES_A_SECOND, now)?.max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_each_in_its_turn() {
        let now = Instant::now();
        let mut rate = Rate(now);
        let waits: Vec<_> = (0..9).filter_map(|_| rate.reserve(5, now)).collect();
        let tenths = |count: u64| Duration::from_millis(100 * count);
        assert_eq!(waits[..6], [Duration::ZERO; 6]);
        assert_eq!(waits[6..], [tenths(2), tenths(4), tenths(6)]);
        let most = (0..100).filter_map(|_| rate.reserve(5, now)).last();
        assert!(most <= Some(WAIT_MAX));
        assert_eq!(rate.reserve(5, now), None);
        assert_eq!(rate.reserve(5, now + 2 * WAIT_MAX), Some(Duration::ZERO));
    }
}
