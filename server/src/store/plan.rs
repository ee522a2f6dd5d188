//! What is done with each batch of a group, before any of it is written.

use std::collections::HashMap;

use protocol::{AgencyId, AgencyState};

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
    /// The rows of those that are stored, in their order, behind what separates them from the log.
    pub(super) group: Vec<u8>,
}

impl Plan {
    /// Decides batch by batch, each one after those before it.
    pub(super) fn of(
        batches: &[EncodedBatch],
        closes: &Closes,
        ledger: &Ledger,
        drawn: bool,
        separator: &str,
    ) -> Self {
        let mut planned = HashMap::new();
        let mut group = Vec::new();
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
        Self { decisions: batches.iter().map(decide).collect(), group }
    }
}
