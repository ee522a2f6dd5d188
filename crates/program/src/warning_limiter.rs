//! Warnings in bounded numbers: whoever makes a program warn of every line that he sends must not
//! fill its disk.
//!
//! **Invariant**: of one kind of warning (one place of the code) no more than
//! [`WARNINGS_MAX`] are logged in [`FLOOD_PERIOD`]. About the last of them says that more are left
//! out, about the first one after that says how many were.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::limits::{FLOOD_PERIOD, WARNINGS_MAX};

/// What is said beside an event's own fields.
type Note = (&'static str, Value);

/// All kinds of warnings that were logged so far: as many as the code has places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floods(Arc<Mutex<HashMap<Identifier, Kind>>>);

/// One kind.
#[derive(Debug)]
struct Kind {
    since: Instant,
    logged: u32,
    left_out: u64,
    /// What is still to be said. Admitting an event and writing it are two calls, between which
    /// other threads may admit theirs: whichever is written first says it.
    notes: Vec<Note>,
}

impl Floods {
    fn with<T>(&self, event: &Metadata<'_>, act: impl FnOnce(&mut Kind) -> T) -> T {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(kinds.entry(event.callsite()).or_insert_with(|| Kind::new(Instant::now())))
    }

    /// What is to be said beside the event's own fields. It is handed out once.
    pub(crate) fn notes(&self, event: &Metadata<'_>) -> Vec<Note> {
        if *event.level() != Level::WARN {
            return Vec::new();
        }
        self.with(event, |kind| mem::take(&mut kind.notes))
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
        Self { since: now, logged: 0, left_out: 0, notes: Vec::new() }
    }

    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= FLOOD_PERIOD {
            self.begin_period(now);
        }
        if self.logged == WARNINGS_MAX {
            self.left_out += 1;
            return false;
        }
        self.logged += 1;
        if self.logged == WARNINGS_MAX {
            let more = format!("left out for up to {} s", FLOOD_PERIOD.as_secs());
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

    fn logged(kind: &mut Kind, at: Instant, count: u32) -> usize {
        (0..count).filter(|_| kind.admits(at)).count()
    }

    fn notes(kind: &mut Kind) -> Vec<Note> {
        mem::take(&mut kind.notes)
    }

    #[test]
    fn a_flood_is_cut_and_told_and_counted() {
        let start = Instant::now();
        let mut kind = Kind::new(start);
        assert_eq!(logged(&mut kind, start, WARNINGS_MAX - 1), WARNINGS_MAX as usize - 1);
        assert_eq!(notes(&mut kind), []);
        assert_eq!(logged(&mut kind, start, 1_000), 1);
        let cut = [("more_of_these", Value::from("left out for up to 60 s"))];
        assert_eq!(notes(&mut kind), cut);
        assert_eq!(logged(&mut kind, start + FLOOD_PERIOD, 1), 1);
        assert_eq!(notes(&mut kind), [("left_out_before", Value::from(999))]);
        assert_eq!(logged(&mut kind, start + 2 * FLOOD_PERIOD, 1), 1);
        assert_eq!(notes(&mut kind), [], "there was no flood");
    }

    #[test]
    fn threads_that_log_at_once_lose_no_count() {
        let start = Instant::now();
        let mut kind = Kind::new(start);
        logged(&mut kind, start, WARNINGS_MAX + 7);
        notes(&mut kind);
        // Two are admitted before either of them is written.
        assert_eq!(logged(&mut kind, start + FLOOD_PERIOD, 2), 2);
        assert_eq!(notes(&mut kind), [("left_out_before", Value::from(7))]);
        assert_eq!(notes(&mut kind), []);
        // Nor does the end of a period take anything away that is not written yet.
        logged(&mut kind, start + FLOOD_PERIOD, WARNINGS_MAX + 1);
        assert_eq!(logged(&mut kind, start + 2 * FLOOD_PERIOD, 1), 1);
        let names: Vec<_> = notes(&mut kind).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["more_of_these", "left_out_before"]);
    }
}
