//! Contestants measured in turn: whatever else the machine does hits all of them alike.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::results::{Role, Sample, Standing};

/// How long a contestant is run before the first round, unmeasured.
const WARM_UP: Duration = Duration::from_millis(200);

/// Work that is awaited on the thread that started the processes.
pub type Pending<'w, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + 'w>>;

/// Something that is measured. It is set up before the first round, and idle between its rounds.
pub trait Contestant {
    /// One round of about `time`; one that measures a fixed amount of work takes what it takes.
    /// Every round measures the same things.
    fn round(&mut self, time: Duration) -> Pending<'_, Sample>;

    /// Checks what all rounds left behind, and ends whatever runs: nothing, if each round does.
    fn finish<'c>(self: Box<Self>) -> Pending<'c, ()>
    where
        Self: 'c,
    {
        Box::pin(async { Ok(()) })
    }
}

/// A contestant whose rounds are each the whole thing once.
pub struct Whole<F>(pub F);

impl<F: AsyncFnMut() -> anyhow::Result<Sample>> Contestant for Whole<F> {
    fn round(&mut self, _: Duration) -> Pending<'_, Sample> {
        Box::pin((self.0)())
    }
}

/// A contestant of a case, or why it is absent, and what it has measured so far.
pub struct Entry<'c> {
    contestant: Option<Box<dyn Contestant + 'c>>,
    standing: Standing,
}

impl<'c> Entry<'c> {
    /// One that takes part.
    #[must_use]
    pub fn new(name: &str, role: Role, contestant: impl Contestant + 'c) -> Self {
        Self { contestant: Some(Box::new(contestant)), standing: Standing::new(name, role) }
    }

    /// One that does not take part; `reason` says what to do about it.
    #[must_use]
    pub fn absent(name: &str, reason: &str) -> Self {
        let absent = Some(reason.to_owned());
        let standing = Standing { absent, ..Standing::new(name, Role::Peer) };
        Self { contestant: None, standing }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Effort {
    /// How long a round of one contestant is.
    pub seconds: f64,
    /// How many rounds each of them has.
    pub rounds: u32,
}

/// Runs all rounds, contestant after contestant in each, and gives their figures in the order in
/// which they entered. Each round starts with the next of them: what one leaves behind, a busy
/// disk or a warm cache, does not meet the same one in every round.
///
/// # Errors
/// A contestant's failure, or that `stop` was cancelled.
pub async fn take_turns(
    mut entries: Vec<Entry<'_>>,
    effort: Effort,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Standing>> {
    let present = entries.iter_mut().filter_map(|entry| {
        entry.contestant.as_mut().map(|contestant| (contestant, &mut entry.standing))
    });
    let mut present: Vec<_> = present.collect();
    for round in 0..=effort.rounds {
        for (contestant, standing) in &mut present {
            anyhow::ensure!(!stop.is_cancelled(), "interrupted");
            let time = if round == 0 { WARM_UP } else { Duration::from_secs_f64(effort.seconds) };
            let sample = contestant.round(time).await.with_context(|| standing.name.clone())?;
            if round > 0 {
                standing.add(&sample);
            }
        }
        let first = present.len().min(1);
        present.rotate_left(first);
    }
    let mut standings = Vec::with_capacity(entries.len());
    for Entry { contestant, standing } in entries {
        if let Some(contestant) = contestant {
            contestant.finish().await.with_context(|| standing.name.clone())?;
        }
        standings.push(standing);
    }
    Ok(standings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::MEMORY;
    use std::cell::RefCell;

    #[tokio::test]
    async fn each_round_starts_with_the_next_and_the_first_round_counts_for_nothing() {
        let turns = RefCell::new(Vec::new());
        // Writes its turns down, and measures which turn of all it was.
        let note = |name| {
            turns.borrow_mut().push(name);
            Ok(vec![(&MEMORY, turns.borrow().len() as f64)])
        };
        let entry = |name| Entry::new(name, Role::Ours, Whole(async move || note(name)));
        let absent = Entry::absent("c", "not installed");
        let effort = Effort { seconds: 0.0, rounds: 2 };
        let stop = CancellationToken::new();
        let entries = vec![entry("a"), absent, entry("b"), entry("d")];
        let standings = take_turns(entries, effort, &stop).await.unwrap();
        let wanted = ["a", "b", "d", "b", "d", "a", "d", "a", "b"];
        assert_eq!(*turns.borrow(), wanted);
        let names: Vec<_> = standings.iter().map(|standing| standing.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "b", "d"]);
        assert_eq!(standings[0].figures[0].rounds, [6.0, 8.0]);
        assert_eq!(standings[1].absent.as_deref(), Some("not installed"));
        assert_eq!(standings[2].figures[0].rounds, [4.0, 9.0]);
        assert_eq!(standings[3].figures[0].rounds, [5.0, 7.0]);
        stop.cancel();
        let error = take_turns(vec![entry("a")], effort, &stop).await.unwrap_err().to_string();
        assert_eq!(error, "interrupted");
    }
}
