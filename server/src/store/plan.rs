//! What is done with each batch or close of a group, before any of it is written.

use std::collections::{HashMap, HashSet};

use protocol::{AgencyId, AgencyState, Outcome, Refusal};

use super::Closed;
use super::batch::{Decision, EncodedBatch};
use super::ledger::{Closes, Ledger};

/// Where an agency stands.
pub(super) fn state_of(agency: AgencyId, closes: &Closes, drawn: bool) -> AgencyState {
    match (drawn, closes.contains(agency)) {
        (true, _) => AgencyState::Drawn,
        (false, true) => AgencyState::Closed,
        (false, false) => AgencyState::Open,
    }
}

/// What is done with each batch of a group.
pub(super) struct Plan {
    /// For each batch, in their order.
    pub(super) decisions: Vec<Decision>,
    /// The rows of those that are stored, in their order, behind the separator.
    pub(super) group: Vec<u8>,
    /// What separates the rows from the log.
    pub(super) separator: &'static str,
}

impl Plan {
    /// Decides batch by batch, each one after those before it.
    pub(super) fn of(
        batches: &[EncodedBatch],
        closes: &Closes,
        ledger: &Ledger,
        drawn: bool,
        separator: &'static str,
    ) -> Self {
        let mut planned = HashMap::new();
        let bytes = batches.iter().map(|batch| batch.lines.len()).sum::<usize>();
        let mut group = Vec::with_capacity(separator.len() + bytes);
        let decide = |batch: &EncodedBatch| {
            let rows = planned.entry(batch.agency).or_insert(ledger.of(batch.agency).rows);
            let decision = batch.decide(*rows, state_of(batch.agency, closes, drawn));
            if decision == Decision::Store {
                *rows += batch.rows;
                if group.is_empty() {
                    group.extend_from_slice(separator.as_bytes());
                }
                group.extend_from_slice(&batch.lines);
            }
            decision
        };
        Self { decisions: batches.iter().map(decide).collect(), group, separator }
    }
}

/// What is done with each close of a group.
pub(super) struct ClosePlan {
    /// How each ends once the lines are written, in their order.
    pub(super) closed: Vec<Closed>,
    /// The lines of those that are new, behind what separates them from the log; empty if none is.
    pub(super) lines: String,
}

impl ClosePlan {
    /// Decides close by close, each one after those before it: an agency, and how many rows it
    /// says it has, if it does.
    pub(super) fn of(
        group: &[(AgencyId, Option<u64>)],
        closes: &Closes,
        ledger: &Ledger,
        separator: &str,
    ) -> Self {
        let (mut closing, mut lines) = (HashSet::new(), String::new());
        let decide = |(agency, declared): &(AgencyId, Option<u64>)| {
            let stored = ledger.of(*agency).rows;
            if let Some(declared) = declared.filter(|declared| *declared != stored) {
                let reason = format!("{stored} rows are stored, not {declared}");
                return Closed::unchanged(Outcome::Refused(Refusal::Short, reason));
            }
            let is_new = !closes.contains(*agency) && closing.insert(*agency);
            if is_new {
                if lines.is_empty() {
                    lines += separator;
                }
                lines += &format!("{agency}\n");
            }
            Closed { outcome: Outcome::Done, is_new }
        };
        Self { closed: group.iter().map(decide).collect(), lines }
    }
}
