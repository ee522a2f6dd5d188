//! What the answers for an agency must say, computed from its file of bets.
//!
//! Shares no code with server, client or protocol.

use anyhow::{Context as _, bail};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use harness::bets_dir::BetsDirectory;

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
    (1..=bets.agencies()).map(|agency| expect_agency(bets, agency, winner_number)).collect()
}

fn expect_agency(
    bets: &BetsDirectory,
    agency: u32,
    winner_number: u16,
) -> anyhow::Result<AgencyExpected> {
    let path = bets.file(agency);
    let reader = csv::ReaderBuilder::new().has_headers(false).from_path(&path);
    let (mut digest, mut digests, mut winners) = (0, vec![format!("{:016x}", 0)], Vec::new());
    for record in reader.with_context(|| format!("open {}", path.display()))?.records() {
        let record = record.context("read a row")?;
        let fields: Vec<&str> = record.iter().collect();
        let &[_, _, document, _, number] = fields.as_slice() else { bail!("not five fields") };
        digest = xxh3_64_with_seed(fields.join(";").as_bytes(), digest);
        digests.push(format!("{digest:016x}"));
        if number == winner_number.to_string() {
            winners.push(document.to_owned());
        }
    }
    Ok(AgencyExpected { digests, winners: winners.join(";") })
}
