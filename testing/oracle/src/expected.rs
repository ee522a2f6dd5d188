//! What the answers for an agency must say, computed from its file of bets.
//!
//! Shares no code with server, client or protocol.

use harness::bets_dir::BetsDirectory;

use crate::agency_file::AgencyFile;

/// What the answers for one agency must say, by its file.
#[derive(Debug)]
pub struct AgencyExpected {
    /// The digest of the first k rows, for k from 0.
    pub digests: Vec<String>,
    /// The winners' documents as an answer has them.
    pub winners: String,
}

impl AgencyExpected {
    /// How many rows its file has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.digests.len().saturating_sub(1) as u64
    }

    /// The digest of all rows.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.digests.last().map_or("", String::as_str)
    }
}

/// Reads what all agencies' answers must say.
///
/// # Errors
/// A file cannot be read, or is malformed.
pub fn expect(bets: &BetsDirectory, winner_number: u16) -> anyhow::Result<Vec<AgencyExpected>> {
    let of_agency = |agency| {
        let mut file = AgencyFile::open(bets, agency, winner_number)?;
        let mut digests = vec![file.head.digest()];
        while file.advance()? {
            digests.push(file.head.digest());
        }
        Ok(AgencyExpected { digests, winners: file.winners.join(";") })
    };
    (1..=bets.agencies()).map(of_agency).collect()
}
