//! A draw that was held: as it is recorded, and as it is sent to agencies.

use std::io;
use std::sync::Arc;

use protocol::{AgencyId, BetNumber, Digest};
use serde::{Deserialize, Serialize};

use super::AgencyRows;

/// What was drawn over which rows, when and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawRecord {
    /// The winning number, 0..=9999.
    pub winning_number: u16,
    /// How many agencies took part, 1..=`agencies_amount`.
    pub agencies_amount: u32,
    /// How many bets they had stored.
    pub bets: u64,
    /// When the draw was held, RFC 3339 in UTC.
    pub time: String,
    /// The instance that held it: its address, or its host and port.
    pub instance: String,
    /// Every agency, from 1.
    pub agencies: Vec<AgencyRecord>,
}

/// An agency's part of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyRecord {
    /// The agency's number.
    pub agency: u32,
    /// How many rows it had stored.
    pub rows: u64,
    /// Their digest, 16 hex digits.
    pub digest: String,
    /// The documents of its winners, in the order of its rows.
    pub winners: Vec<String>,
}

/// A draw that was held, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Draw {
    /// The winning number.
    pub number: BetNumber,
    /// How many agencies took part.
    pub agencies_amount: u32,
    /// How many bets were stored.
    pub bets: u64,
    /// When it was held, RFC 3339 in UTC.
    pub time: String,
    /// Each agency's winners as an answer has them: documents with `;` between them.
    winners: Vec<Arc<str>>,
    /// Each agency's rows, and their digest if the record has one.
    stored: Vec<(u64, Option<Digest>)>,
}

impl Draw {
    /// Whether it was drawn over these rows of an agency.
    pub(super) fn is_over(&self, agency: AgencyId, rows: AgencyRows) -> bool {
        self.stored.get(agency.index()) == Some(&(rows.rows, Some(rows.digest)))
    }

    /// The settings that are others than those the draw was held with: the key, the value here and
    /// the value of the draw.
    pub(crate) fn differences(
        &self,
        agencies_amount: u32,
        winning_number: BetNumber,
    ) -> impl Iterator<Item = (&'static str, String, String)> {
        let (amount, number) = (self.agencies_amount, self.number);
        [
            ("AGENCIES_AMOUNT", agencies_amount.to_string(), amount.to_string()),
            ("LOTTERY_WINNER_NUMBER", winning_number.to_string(), number.to_string()),
        ]
        .into_iter()
        .filter(|(_, here, drawn)| here != drawn)
    }

    /// The winners of an agency, with `;` between them; `None` if it took no part.
    #[must_use]
    pub fn winners(&self, agency: AgencyId) -> Option<Arc<str>> {
        self.winners.get(agency.index()).cloned()
    }
}

impl TryFrom<DrawRecord> for Draw {
    type Error = io::Error;

    fn try_from(record: DrawRecord) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let in_order = record.agencies.iter().map(|agency| agency.agency);
        if !in_order.eq(1..=record.agencies_amount) {
            return Err(invalid("the agencies of the draw's record are not 1..=agencies_amount"));
        }
        let number = BetNumber::new(record.winning_number)
            .ok_or_else(|| invalid("the winning number of the draw's record is over 9999"))?;
        // They are sent in one line, which another writer's record must not break.
        let mut documents = record.agencies.iter().flat_map(|agency| &agency.winners);
        if documents.any(|document| document.contains([';', '\n'])) {
            return Err(invalid("a document of the draw's record holds ';' or a line end"));
        }
        let winners = record.agencies.iter().map(|agency| agency.winners.join(";").into());
        let stored = record.agencies.iter().map(|agency| (agency.rows, agency.digest.parse().ok()));
        Ok(Self {
            number,
            agencies_amount: record.agencies_amount,
            bets: record.bets,
            winners: winners.collect(),
            stored: stored.collect(),
            time: record.time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"winning_number": 7574, "agencies_amount": 2, "bets": 6, "time": "now",
        "instance": "here", "agencies": [
        {"agency": 1, "rows": 3, "digest": "00000000000000ff", "winners": ["30876370", "2480"]},
        {"agency": 2, "rows": 3, "digest": "00000000000000ff", "winners": []}]}"#;

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        for (part, other, is_valid) in [
            ("now", "2026-01-31T10:00:00Z", true),
            ("\"agency\": 2", "\"agency\": 3", false),
            ("\"agencies_amount\": 2", "\"agencies_amount\": 3", false),
            ("7574", "10000", false),
            ("2480", "2480;1", false),
            ("2480", "2480\\nWinnersResponse:1", false),
        ] {
            let json = RECORD.replacen(part, other, 1);
            let record: DrawRecord = serde_json::from_str(&json).unwrap();
            assert_eq!(Draw::try_from(record).is_ok(), is_valid, "{json}");
        }
    }
}
