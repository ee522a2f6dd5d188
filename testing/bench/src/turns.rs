//! Contestants measured in turn: whatever else the machine does hits all of them alike.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::outcome::{Figure, Role, Sample, Standing};

/// How long a contestant is run before the first round, unmeasured.
const WARM_UP: Duration = Duration::from_millis(200);

/// Work that is awaited on the thread that started the processes.
pub type Pending<'w, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + 'w>>;

/// Something that is measured. It is set up before the first round, and idle between its rounds.
pub trait Contestant {
    /// What tables call it.
    fn name(&self) -> String;

    /// As what it takes part.
    fn role(&self) -> Role;

    /// One round of about `time`; one that measures a fixed amount of work takes what it takes.
    /// Every round measures the same things.
    fn round(&mut self, time: Duration) -> Pending<'_, Sample>;

    /// Checks what all rounds left behind, and ends whatever runs: nothing, if each round does.
    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Whoever takes part in a case, or would.
pub enum Entry {
    /// It takes part.
    Present(Box<dyn Contestant>),
    /// It is not here; `reason` says what to do about it.
    Absent {
        /// What tables call it.
        name: String,
        /// Why it is not here.
        reason: String,
    },
}

impl Entry {
    /// One that does not take part.
    #[must_use]
    pub fn absent(name: &str, reason: &str) -> Self {
        Self::Absent { name: name.to_owned(), reason: reason.to_owned() }
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How long a round of one contestant is.
    pub time: Duration,
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
    entries: Vec<Entry>,
    effort: Effort,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Standing>> {
    let mut participants: Vec<Participant> = entries.into_iter().map(Participant::new).collect();
    let mut present: Vec<_> =
        participants.iter_mut().filter(|participant| participant.contestant.is_some()).collect();
    for round in 0..=effort.rounds {
        for participant in &mut present {
            anyhow::ensure!(!stop.is_cancelled(), "interrupted");
            let time = if round == 0 { WARM_UP } else { effort.time };
            let Some(sample) = participant.round(time).await? else { continue };
            if round > 0 {
                participant.add(sample);
            }
        }
        let first = present.len().min(1);
        present.rotate_left(first);
    }
    let mut standings = Vec::with_capacity(participants.len());
    for participant in participants {
        standings.push(participant.finish().await?);
    }
    Ok(standings)
}

/// A contestant and what it has measured so far.
struct Participant {
    contestant: Option<Box<dyn Contestant>>,
    standing: Standing,
}

impl Participant {
    fn new(entry: Entry) -> Self {
        let (contestant, name, role, absent) = match entry {
            Entry::Present(contestant) => {
                let (name, role) = (contestant.name(), contestant.role());
                (Some(contestant), name, role, None)
            }
            Entry::Absent { name, reason } => (None, name, Role::Peer, Some(reason)),
        };
        Self { contestant, standing: Standing { name, role, absent, figures: Vec::new() } }
    }

    async fn round(&mut self, time: Duration) -> anyhow::Result<Option<Sample>> {
        let Some(contestant) = &mut self.contestant else { return Ok(None) };
        contestant.round(time).await.with_context(|| self.standing.name.clone()).map(Some)
    }

    fn add(&mut self, sample: Sample) {
        for (measure, value) in sample {
            let figures = &mut self.standing.figures;
            match figures.iter_mut().find(|figure| figure.measure == measure) {
                Some(figure) => figure.rounds.push(value),
                None => figures.push(Figure { measure, rounds: vec![value] }),
            }
        }
    }

    async fn finish(self) -> anyhow::Result<Standing> {
        let Self { contestant, standing } = self;
        if let Some(contestant) = contestant {
            contestant.finish().await.with_context(|| standing.name.clone())?;
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Measure, Unit};
    use std::cell::RefCell;
    use std::rc::Rc;

    static TURN: Measure = Measure::aside("turn", "turn", Unit::Seconds);

    /// Writes its turns down, and measures which turn of all it was.
    struct Noting(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Contestant for Noting {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn role(&self) -> Role {
            Role::Ours
        }

        fn round(&mut self, _: Duration) -> Pending<'_, Sample> {
            Box::pin(async move {
                self.1.borrow_mut().push(self.0);
                Ok(vec![(&TURN, self.1.borrow().len() as f64)])
            })
        }

        fn finish(self: Box<Self>) -> Pending<'static, ()> {
            Box::pin(async move {
                self.1.borrow_mut().push("end");
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn each_round_starts_with_the_next_and_the_first_round_counts_for_nothing() {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let entry = |name| Entry::Present(Box::new(Noting(name, Rc::clone(&turns))));
        let absent = Entry::absent("c", "not installed");
        let effort = Effort { time: Duration::ZERO, rounds: 2 };
        let stop = CancellationToken::new();
        let entries = vec![entry("a"), absent, entry("b"), entry("d")];
        let standings = take_turns(entries, effort, &stop).await.unwrap();
        let wanted = ["a", "b", "d", "b", "d", "a", "d", "a", "b", "end", "end", "end"];
        assert_eq!(*turns.borrow(), wanted);
        let names: Vec<_> = standings.iter().map(|standing| standing.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "b", "d"]);
        assert_eq!(standings[0].figures[0].rounds, [6.0, 8.0]);
        assert_eq!(standings[1].absent.as_deref(), Some("not installed"));
        assert_eq!(standings[2].figures[0].rounds, [4.0, 9.0]);
        assert_eq!(standings[3].figures[0].rounds, [5.0, 7.0]);
        stop.cancel();
        let entries = vec![entry("a")];
        let error = take_turns(entries, effort, &stop).await.unwrap_err().to_string();
        assert_eq!(error, "interrupted");
    }
}
