//! Warnings in bounded numbers: whoever makes a program warn of every line that he sends must not
//! fill its disk.
//!
//! **Invariant**: of one kind of warning (one place of the code) no more than
//! [`WARNINGS_MAX`] are logged in [`PERIOD`]. The last of them says that more are left out, the
//! first one after that says how many were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// How many warnings of one kind are logged in a period.
const WARNINGS_MAX: u32 = 50;

/// How long a period is.
const PERIOD: Duration = Duration::from_secs(60);

/// All kinds of warnings that were logged so far: as many as the code has places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floods(Arc<Mutex<HashMap<Identifier, Kind>>>);

/// One kind.
#[derive(Debug)]
struct Kind {
    since: Instant,
    logged: u32,
    left_out: u64,
    left_out_before: u64,
}

impl Floods {
    fn with<T>(&self, event: &Metadata<'_>, act: impl FnOnce(&mut Kind) -> T) -> T {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(kinds.entry(event.callsite()).or_insert_with(|| Kind::new(Instant::now())))
    }

    /// What is to be said beside the event's own fields.
    pub(crate) fn notes(&self, event: &Metadata<'_>) -> Vec<(&'static str, Value)> {
        if *event.level() != Level::WARN {
            return Vec::new();
        }
        self.with(event, |kind| kind.notes())
    }
}

impl<S: Subscriber> Filter<S> for Floods {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let event = event.metadata();
        *event.level() != Level::WARN || self.with(event, |kind| kind.admits(Instant::now()))
    }
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self { since: now, logged: 0, left_out: 0, left_out_before: 0 }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PERIOD {
            *self = Self { left_out_before: self.left_out, ..Self::new(now) };
        }
        let is_admitted = self.logged < WARNINGS_MAX;
        if is_admitted {
            self.logged += 1;
        } else {
            self.left_out += 1;
        }
        is_admitted
    }

    fn notes(&self) -> Vec<(&'static str, Value)> {
        match self.logged {
            1 if self.left_out_before > 0 => {
                vec![("left_out_before", Value::from(self.left_out_before))]
            }
            WARNINGS_MAX => {
                let more = format!("left out for up to {} s", PERIOD.as_secs());
                vec![("more_of_these", Value::from(more))]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told_and_counted() {
        let start = Instant::now();
        let mut kind = Kind::new(start);
        let logged = |kind: &mut Kind, at: Instant, count: u32| {
            (0..count).filter(|_| kind.admits(at)).count()
        };
        assert_eq!(logged(&mut kind, start, WARNINGS_MAX - 1), WARNINGS_MAX as usize - 1);
        assert_eq!(kind.notes(), []);
        assert_eq!(logged(&mut kind, start, 1_000), 1);
        let cut = [("more_of_these", Value::from("left out for up to 60 s"))];
        assert_eq!(kind.notes(), cut);
        assert_eq!(logged(&mut kind, start + PERIOD, 1), 1);
        assert_eq!(kind.notes(), [("left_out_before", Value::from(999))]);
        assert_eq!(logged(&mut kind, start + 2 * PERIOD, 1), 1);
        assert_eq!(kind.notes(), [], "there was no flood");
    }
}
