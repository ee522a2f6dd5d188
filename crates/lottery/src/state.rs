//! What is stored: each agency's rows and their digest, which agencies have closed, and whether the
//! draw was held. And what is done with each batch or close of a group, before any of it is written.
//!
//! The state's size depends on the number of agencies and not on that of bets. Agencies that are not
//! of this lottery change nothing. Batches of one agency are decided one after the other, each as if
//! those before it were stored already.

use std::collections::{HashMap, HashSet};

use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal, WireBets};

/// How many rows of an agency are stored, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgencyRows {
    /// The count of rows.
    pub rows: u64,
    /// The digest of these rows, in their order.
    pub digest: Digest,
}

/// What is stored of an agency, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgencyStatus {
    /// The rows.
    pub stored: AgencyRows,
    /// Where the agency stands.
    pub state: AgencyState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Agency {
    stored: AgencyRows,
    is_closed: bool,
}

/// The state of the lottery, as a fold over its rows and closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    agencies: Vec<Agency>,
    /// How many agencies have closed.
    closed: usize,
    is_drawn: bool,
}

impl State {
    /// Nothing is stored yet of the agencies 1..=`agencies_amount`.
    #[must_use]
    pub fn new(agencies_amount: u32) -> Self {
        let agencies = vec![Agency::default(); agencies_amount as usize];
        Self { agencies, closed: 0, is_drawn: false }
    }

    /// How many agencies the lottery has.
    #[must_use]
    pub fn agencies_amount(&self) -> u32 {
        u32::try_from(self.agencies.len()).unwrap_or(u32::MAX)
    }

    /// The rows of an agency; 0 rows if the agency is not one of this lottery.
    #[must_use]
    pub fn stored(&self, agency: AgencyId) -> AgencyRows {
        self.agencies.get(agency.index()).copied().unwrap_or_default().stored
    }

    /// What is stored of an agency, and where it stands.
    #[must_use]
    pub fn status(&self, agency: AgencyId) -> AgencyStatus {
        let state = match (self.is_drawn, self.is_closed(agency)) {
            (true, _) => AgencyState::Drawn,
            (false, true) => AgencyState::Closed,
            (false, false) => AgencyState::Open,
        };
        AgencyStatus { stored: self.stored(agency), state }
    }

    /// Whether an agency has closed.
    #[must_use]
    pub fn is_closed(&self, agency: AgencyId) -> bool {
        self.agencies.get(agency.index()).is_some_and(|agency| agency.is_closed)
    }

    /// How many agencies have closed.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.closed
    }

    /// Whether every agency has closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.closed == self.agencies.len()
    }

    /// How many bets of this lottery's agencies are stored.
    #[must_use]
    pub fn bets(&self) -> u64 {
        self.agencies.iter().map(|agency| agency.stored.rows).sum()
    }

    /// Decides the batches or closes of a group before any of them is applied.
    #[must_use]
    pub fn plan(&self) -> Plan<'_> {
        Plan { state: self, rows: HashMap::new(), closing: HashSet::new() }
    }

    /// Applies a batch that is stored.
    pub fn apply(&mut self, agency: AgencyId, bets: &WireBets<'_>) {
        if bets.is_canonical() {
            bets.texts().for_each(|bet| self.apply_row(agency, bet.as_bytes()));
            return;
        }
        // The digest is over rows as they are stored: without the zeros before a number.
        let mut row = Vec::new();
        for bet in bets.iter() {
            row.clear();
            bet.write_wire(&mut row);
            self.apply_row(agency, &row);
        }
    }

    /// Applies one row that is stored, as it stands on the wire without zeros before its number.
    pub fn apply_row(&mut self, agency: AgencyId, wire: &[u8]) {
        if let Some(Agency { stored, .. }) = self.agencies.get_mut(agency.index()) {
            stored.rows += 1;
            stored.digest = stored.digest.fold(wire);
        }
    }

    /// Closes an agency; again changes nothing.
    pub fn close(&mut self, agency: AgencyId) {
        if let Some(agency) = self.agencies.get_mut(agency.index())
            && !agency.is_closed
        {
            agency.is_closed = true;
            self.closed += 1;
        }
    }

    /// Says whether the draw has been held.
    pub fn set_drawn(&mut self, is_drawn: bool) {
        self.is_drawn = is_drawn;
    }

    /// Forgets all rows.
    pub fn forget_rows(&mut self) {
        self.agencies.iter_mut().for_each(|agency| agency.stored = AgencyRows::default());
    }

    /// Forgets all closes.
    pub fn forget_closes(&mut self) {
        self.agencies.iter_mut().for_each(|agency| agency.is_closed = false);
        self.closed = 0;
    }
}

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

impl Plan<'_> {
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
