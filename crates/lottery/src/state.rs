//! What is stored: each agency's rows and their digest, who has closed, and whether the draw was
//! held.
//!
//! Its size depends on the number of agencies and not on that of bets. Agencies that are not of
//! this lottery change nothing.

use protocol::{AgencyId, AgencyState, Digest, WireBets};

use crate::plan::Plan;

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

    /// The rows of an agency; none of an agency that is not of this lottery.
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
        Plan::new(self)
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
