//! What is done with each batch or close of a group, before any of it is written.
//!
//! Batches of one agency are decided one after the other, each as if those before it were stored
//! already.

use std::collections::{HashMap, HashSet};

use protocol::{AgencyId, AgencyState, Outcome, Refusal};

use crate::state::State;

/// Whose rows a batch holds, where they belong, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// Whose rows they are.
    pub agency: AgencyId,
    /// The row of the first bet, from 1; `None` puts them behind the agency's last row.
    pub first_row: Option<u64>,
    /// How many rows there are, at least one.
    pub rows: u64,
}

/// What is done with a batch or a close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is new and is stored.
    Store,
    /// All of it is stored already.
    Stored,
    /// It breaks a rule; the text is for people.
    Refuse(Refusal, String),
}

impl Decision {
    /// The outcome once what is to be stored is durable.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        match self {
            Self::Store | Self::Stored => Outcome::Done,
            Self::Refuse(refusal, reason) => Outcome::Refused(refusal, reason),
        }
    }
}

/// The decisions about one group: see [`State::plan`].
#[derive(Debug)]
pub struct Plan<'s> {
    state: &'s State,
    /// The rows of each agency once the batches that were decided are stored.
    rows: HashMap<AgencyId, u64>,
    closing: HashSet<AgencyId>,
}

impl<'s> Plan<'s> {
    pub(crate) fn new(state: &'s State) -> Self {
        Self { state, rows: HashMap::new(), closing: HashSet::new() }
    }

    /// Decides the next batch of the group.
    pub fn decide(&mut self, batch: &BatchHead) -> Decision {
        let status = self.state.status(batch.agency);
        let stored = self.rows.entry(batch.agency).or_insert(status.stored.rows);
        let decision = decide(batch, *stored, status.state);
        if decision == Decision::Store {
            *stored += batch.rows;
        }
        decision
    }

    /// Decides the next close of the group; with `declared`, only if exactly so many rows of the
    /// agency are stored.
    pub fn decide_close(&mut self, agency: AgencyId, declared: Option<u64>) -> Decision {
        let stored = self.state.stored(agency).rows;
        if let Some(declared) = declared.filter(|declared| *declared != stored) {
            let reason = format!("{stored} rows are stored, not {declared}");
            return Decision::Refuse(Refusal::Short, reason);
        }
        let is_new = !self.state.is_closed(agency) && self.closing.insert(agency);
        if is_new { Decision::Store } else { Decision::Stored }
    }
}

/// Decides for an agency that has `stored` rows and is in `state`.
fn decide(batch: &BatchHead, stored: u64, state: AgencyState) -> Decision {
    let next = stored + 1;
    let first = batch.first_row.unwrap_or(next);
    let last = first.saturating_add(batch.rows - 1);
    let refuse = |refusal, reason: String| Decision::Refuse(refusal, reason);
    if last <= stored {
        return Decision::Stored;
    }
    match state {
        AgencyState::Drawn => refuse(Refusal::Drawn, "the draw is done".to_owned()),
        AgencyState::Closed => {
            refuse(Refusal::Closed, format!("agency {} has closed", batch.agency))
        }
        AgencyState::Open if first == next => Decision::Store,
        AgencyState::Open if first > next => {
            refuse(Refusal::Gap, format!("row {next} comes next, not row {first}"))
        }
        AgencyState::Open => {
            refuse(Refusal::Overlap, format!("rows {first} to {stored} are stored already"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(first_row: Option<u64>, rows: u64, state: AgencyState) -> Decision {
        decide(&BatchHead { agency: AgencyId::new(1).unwrap(), first_row, rows }, 10, state)
    }

    #[test]
    fn rows_decide_what_is_stored() {
        use AgencyState::Open;
        let refusal = |decision| match decision {
            Decision::Refuse(refusal, _) => Some(refusal),
            _ => None,
        };
        for (first_row, rows) in [(None, 3), (Some(11), 3), (Some(11), 1)] {
            assert_eq!(decided(first_row, rows, Open), Decision::Store);
        }
        for (first_row, rows) in [(Some(1), 10), (Some(10), 1), (Some(1), 1)] {
            assert_eq!(decided(first_row, rows, Open), Decision::Stored);
        }
        assert_eq!(refusal(decided(Some(12), 1, Open)), Some(Refusal::Gap));
        assert_eq!(refusal(decided(Some(10), 2, Open)), Some(Refusal::Overlap));
        assert_eq!(refusal(decided(Some(u64::MAX), 2, Open)), Some(Refusal::Gap));
    }

    #[test]
    fn after_the_close_only_what_is_stored_is_confirmed() {
        for (state, refusal) in
            [(AgencyState::Closed, Refusal::Closed), (AgencyState::Drawn, Refusal::Drawn)]
        {
            assert_eq!(decided(Some(1), 10, state), Decision::Stored);
            for first_row in [None, Some(11), Some(12), Some(10)] {
                let decision = decided(first_row, 2, state);
                assert!(matches!(decision, Decision::Refuse(r, _) if r == refusal));
            }
        }
    }
}
