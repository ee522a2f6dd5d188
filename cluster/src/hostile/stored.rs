//! What is in the file, compared with what was sent and acknowledged.
//!
//! Reads with the csv crate, without the server's code.

use std::collections::HashMap;

use anyhow::Context as _;

use super::ordinary;
use super::rows::{self, RowSet};
use crate::volume::Volume;

/// Compares `bets.csv` with what the ordinary agencies, and whoever attacked, were told. Gives
/// what is not right.
///
/// # Errors
/// The file could not be read.
pub fn compare(
    volume: &Volume,
    ordinary: &[(u32, u64)],
    attack: &RowSet,
) -> anyhow::Result<Vec<String>> {
    let bytes = std::fs::read(volume.bets()).context("read bets.csv")?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes.as_slice());
    let (mut seen, mut others) = (HashMap::new(), RowSet::default());
    let mut findings = Vec::new();
    for record in reader.byte_records() {
        let record = record.context("read a row")?;
        let row = record.position().map_or(0, csv::Position::record) + 1;
        let agency = record.get(0).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        match agency {
            Some(agency) if record.len() != 6 => {
                findings.push(format!("row {row} of agency {agency} has {} fields", record.len()));
            }
            Some(agency) if ordinary::AGENCIES.contains(&agency) => {
                let place: &mut u64 = seen.entry(agency).or_default();
                let wanted = rows::ordinary_bet(agency, *place);
                *place += 1;
                if !record.iter().skip(1).eq(wanted.iter().map(String::as_bytes)) {
                    findings.push(format!("row {row} is {record:?}, not {wanted:?}"));
                }
            }
            Some(agency) => others.push(agency, record.iter().skip(1)),
            None => findings.push(format!("row {row} has no agency: {record:?}")),
        }
    }
    for (agency, acknowledged) in ordinary {
        let stored = seen.get(agency).copied().unwrap_or(0);
        if stored != *acknowledged {
            findings.push(format!(
                "agency {agency}: {stored} rows are stored, {acknowledged} were acknowledged"
            ));
        }
    }
    if others != *attack {
        findings.push(format!(
            "{} other rows are stored, {} others were acknowledged; or they differ",
            others.count, attack.count
        ));
    }
    if bytes.last().is_some_and(|last| *last != b'\n') {
        findings.push("bets.csv does not end with a line end".to_owned());
    }
    Ok(findings)
}
