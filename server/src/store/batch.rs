//! What is done with a batch: whether it is stored, was stored, or is refused, and why.

use protocol::{AgencyId, AgencyState, Outcome, Refusal, WireBets};

use super::ledger::AgencyRows;

/// Bets of one agency that are stored whole or not at all.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Whose bets they are.
    pub agency: AgencyId,
    /// The row of the first bet, from 1; `None` puts them behind the agency's last row.
    pub first_row: Option<u64>,
    /// The bets.
    pub bets: WireBets<'a>,
}

/// How a batch ended, and what is stored of its agency now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// How it ended.
    pub outcome: Outcome,
    /// The agency's rows after it, durable. With [`Outcome::TryAgain`] it is only what this
    /// instance saw last: nothing follows from it.
    pub stored: AgencyRows,
    /// Whether its rows were stored by this call, not earlier.
    pub is_new: bool,
}

/// A batch as it will stand in the log.
#[derive(Debug)]
pub(crate) struct EncodedBatch {
    pub(crate) agency: AgencyId,
    pub(crate) first_row: Option<u64>,
    pub(crate) rows: u64,
    pub(crate) lines: Vec<u8>,
}

impl From<&Batch<'_>> for EncodedBatch {
    fn from(batch: &Batch<'_>) -> Self {
        let mut lines = Vec::with_capacity(batch.bets.rows_bytes_max());
        batch.bets.write_rows(batch.agency, &mut lines);
        let rows = batch.bets.len() as u64;
        Self { agency: batch.agency, first_row: batch.first_row, rows, lines }
    }
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Store,
    /// All of it is stored already.
    Stored,
    Refuse(Refusal, String),
}

impl EncodedBatch {
    /// Decides, for an agency that has `stored` rows and is in `state`.
    pub(crate) fn decide(&self, stored: u64, state: AgencyState) -> Decision {
        let next = stored + 1;
        let first = self.first_row.unwrap_or(next);
        let last = first.saturating_add(self.rows - 1);
        let refuse = |refusal, reason: String| Decision::Refuse(refusal, reason);
        if last <= stored {
            return Decision::Stored;
        }
        match state {
            AgencyState::Drawn => refuse(Refusal::Drawn, "the draw is done".to_owned()),
            AgencyState::Closed => {
                refuse(Refusal::Closed, format!("agency {} has closed", self.agency))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(first_row: Option<u64>, rows: u64, stored: u64, state: AgencyState) -> Decision {
        let agency = AgencyId::new(1).unwrap();
        EncodedBatch { agency, first_row, rows, lines: Vec::new() }.decide(stored, state)
    }

    #[test]
    fn rows_decide_what_is_stored() {
        use AgencyState::Open;
        let refusal = |decision| match decision {
            Decision::Refuse(refusal, _) => Some(refusal),
            _ => None,
        };
        for (first_row, rows) in [(None, 3), (Some(11), 3), (Some(11), 1)] {
            assert_eq!(decide(first_row, rows, 10, Open), Decision::Store);
        }
        for (first_row, rows) in [(Some(1), 10), (Some(10), 1), (Some(1), 1)] {
            assert_eq!(decide(first_row, rows, 10, Open), Decision::Stored);
        }
        assert_eq!(refusal(decide(Some(12), 1, 10, Open)), Some(Refusal::Gap));
        assert_eq!(refusal(decide(Some(10), 2, 10, Open)), Some(Refusal::Overlap));
        assert_eq!(refusal(decide(Some(u64::MAX), 2, 10, Open)), Some(Refusal::Gap));
    }

    #[test]
    fn after_the_close_only_what_is_stored_is_confirmed() {
        for (state, refusal) in
            [(AgencyState::Closed, Refusal::Closed), (AgencyState::Drawn, Refusal::Drawn)]
        {
            assert_eq!(decide(Some(1), 10, 10, state), Decision::Stored);
            for first_row in [None, Some(11), Some(12), Some(10)] {
                let decision = decide(first_row, 2, 10, state);
                assert!(matches!(decision, Decision::Refuse(r, _) if r == refusal));
            }
        }
    }
}
