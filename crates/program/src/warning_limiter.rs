//! A rate limiter for warnings, so that a client whose every line causes a warning cannot fill the
//! server's disk.
//!
//! **Invariant**: each place in the code logs at most [`WARNINGS_MAX`] warnings in a
//! [`WARNING_PERIOD`]. The last of them says that further ones are left out. The first warning of
//! a later period says how many were.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::limits::{WARNING_PERIOD, WARNINGS_MAX};

/// A field that the limiter adds to an event.
type Note = (&'static str, Value);

/// The current period of each place in the code that has logged a warning.
#[derive(Debug, Clone, Default)]
pub(crate) struct WarningLimiter(Arc<Mutex<HashMap<Identifier, Period>>>);

/// The warnings of one place in one period.
#[derive(Debug)]
struct Period {
    since: Instant,
    logged: u32,
    left_out: u64,
    /// Notes for the next event. Admitting an event and writing it are two calls, between which
    /// other threads may admit events; the event that is written first takes the notes.
    notes: Vec<Note>,
}

impl WarningLimiter {
    fn with<T>(&self, event: &Metadata<'_>, act: impl FnOnce(&mut Period) -> T) -> T {
        let mut periods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(periods.entry(event.callsite()).or_insert_with(|| Period::new(Instant::now())))
    }

    /// Takes the notes for this event.
    pub(crate) fn notes(&self, event: &Metadata<'_>) -> Vec<Note> {
        if *event.level() != Level::WARN {
            return Vec::new();
        }
        self.with(event, |period| mem::take(&mut period.notes))
    }
}

impl<S: Subscriber> Filter<S> for WarningLimiter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let event = event.metadata();
        *event.level() != Level::WARN || self.with(event, |period| period.admits(Instant::now()))
    }
}

impl Period {
    fn new(now: Instant) -> Self {
        Self { since: now, logged: 0, left_out: 0, notes: Vec::new() }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= WARNING_PERIOD {
            self.begin_period(now);
        }
        if self.logged == WARNINGS_MAX {
            self.left_out += 1;
            return false;
        }
        self.logged += 1;
        if self.logged == WARNINGS_MAX {
            let more = format!("left out for up to {} s", WARNING_PERIOD.as_secs());
            self.notes.push(("more_of_these", Value::from(more)));
        }
        true
    }

    fn begin_period(&mut self, now: Instant) {
        let before = mem::replace(self, Self::new(now));
        self.notes = before.notes;
        if before.left_out > 0 {
            self.notes.push(("left_out_before", Value::from(before.left_out)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(period: &mut Period, at: Instant, count: u32) -> usize {
        (0..count).filter(|_| period.admits(at)).count()
    }

    fn notes(period: &mut Period) -> Vec<Note> {
        mem::take(&mut period.notes)
    }

    #[test]
    fn further_warnings_are_left_out_announced_and_counted() {
        let start = Instant::now();
        let mut period = Period::new(start);
        assert_eq!(logged(&mut period, start, WARNINGS_MAX - 1), WARNINGS_MAX as usize - 1);
        assert_eq!(notes(&mut period), []);
        assert_eq!(logged(&mut period, start, 1_000), 1);
        let cut = [("more_of_these", Value::from("left out for up to 60 s"))];
        assert_eq!(notes(&mut period), cut);
        assert_eq!(logged(&mut period, start + WARNING_PERIOD, 1), 1);
        assert_eq!(notes(&mut period), [("left_out_before", Value::from(999))]);
        assert_eq!(logged(&mut period, start + 2 * WARNING_PERIOD, 1), 1);
        assert_eq!(notes(&mut period), [], "no warning was left out");
    }

    #[test]
    fn threads_that_log_at_once_lose_no_count() {
        let start = Instant::now();
        let mut period = Period::new(start);
        logged(&mut period, start, WARNINGS_MAX + 7);
        notes(&mut period);
        // Two are admitted before either of them is written.
        assert_eq!(logged(&mut period, start + WARNING_PERIOD, 2), 2);
        assert_eq!(notes(&mut period), [("left_out_before", Value::from(7))]);
        assert_eq!(notes(&mut period), []);
        // The end of a period keeps notes that are not written yet.
        logged(&mut period, start + WARNING_PERIOD, WARNINGS_MAX + 1);
        assert_eq!(logged(&mut period, start + 2 * WARNING_PERIOD, 1), 1);
        let names: Vec<_> = notes(&mut period).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["more_of_these", "left_out_before"]);
    }
}
