//! What is in the file, compared with what was sent and acknowledged.
//!
//! Reads with the csv crate, without the server's code.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use anyhow::Context as _;

use super::ordinary;
use harness::volume::Volume;
use oracle::rows::RowSet;

/// How much of the file is read at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Which agencies have other counts of rows than were acknowledged.
fn differences(acknowledged: &[(u32, u64)], seen: &HashMap<u32, u64>) -> Vec<String> {
    let mut findings = Vec::new();
    for (agency, acknowledged) in acknowledged {
        let stored = seen.get(agency).copied().unwrap_or(0);
        if stored != *acknowledged {
            findings.push(format!(
                "agency {agency}: {stored} rows are stored, {acknowledged} were acknowledged"
            ));
        }
    }
    findings
}

/// Whether the file is empty or its last byte is a line end; reads on from its start.
fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    file.rewind()?;
    Ok(last == [b'\n'])
}

/// The row as a person reads it.
fn text(record: &csv::ByteRecord) -> String {
    let fields: Vec<_> = record.iter().map(|field| field.escape_ascii().to_string()).collect();
    fields.join(",")
}

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
    // Never all at once: a fast disk takes tens of gigabytes.
    let mut file = File::open(volume.bets()).context("open bets.csv")?;
    let ends_with_a_line = ends_with_a_line(&mut file).context("read the end of bets.csv")?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(file);
    let (mut seen, mut others) = (HashMap::new(), RowSet::default());
    let (mut findings, mut record) = (Vec::new(), csv::ByteRecord::new());
    while reader.read_byte_record(&mut record).context("read a row")? {
        let row = record.position().map_or(0, csv::Position::record) + 1;
        let agency = record.get(0).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        match agency {
            Some(_) if record.len() != 6 => {
                findings.push(format!("row {row} is torn: {}", text(&record)));
            }
            Some(agency) if ordinary::AGENCIES.contains(&agency) => {
                let place: &mut u64 = seen.entry(agency).or_default();
                let wanted = ordinary::ordinary_bet(agency, *place);
                *place += 1;
                if !record.iter().skip(1).eq(wanted.iter().map(String::as_bytes)) {
                    let wanted = wanted.join(",");
                    findings.push(format!("row {row} is {}, not {agency},{wanted}", text(&record)));
                }
            }
            Some(agency) => others.push(agency, record.iter().skip(1)),
            None => findings.push(format!("row {row} has no agency: {}", text(&record))),
        }
    }
    findings.extend(differences(ordinary, &seen));
    if others != *attack {
        findings.push(format!(
            "{} other rows are stored, {} others were acknowledged; or they differ",
            others.count, attack.count
        ));
    }
    if !ends_with_a_line {
        findings.push("bets.csv does not end with a line end".to_owned());
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDINARY: u32 = 90_001;
    const OTHER: [&str; 5] = ["=1+1,\"x\"", "Paz", "1", "2000-01-01", "7"];

    /// The rows of a right volume: four of an ordinary agency, two of another.
    fn rows() -> Vec<String> {
        let ordinary =
            |place| format!("{ORDINARY},{}\n", ordinary::ordinary_bet(ORDINARY, place).join(","));
        let other = "5,\"=1+1,\"\"x\"\"\",Paz,1,2000-01-01,7\n".to_owned();
        vec![ordinary(0), other.clone(), ordinary(1), ordinary(2), other, ordinary(3)]
    }

    /// What is found in a volume with this file, if four rows and two others were acknowledged.
    fn found(file: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::new(directory.path());
        std::fs::write(volume.bets(), file).unwrap();
        let mut others = RowSet::default();
        (0..2).for_each(|_| others.push(5, OTHER.map(str::as_bytes)));
        compare(&volume, &[(ORDINARY, 4)], &others).unwrap()
    }

    /// What is found when the rows are changed so.
    fn found_after(change: impl FnOnce(&mut Vec<String>)) -> String {
        let mut rows = rows();
        change(&mut rows);
        found(&rows.concat()).join("\n")
    }

    #[test]
    fn a_right_volume_is_right() {
        assert_eq!(found(&rows().concat()), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_volume_is_found() {
        let lost = found_after(|rows| drop(rows.remove(5)));
        assert!(lost.contains("agency 90001: 3 rows are stored, 4 were acknowledged"), "{lost}");
        let lost = found_after(|rows| drop(rows.remove(2)));
        assert!(lost.contains("row 3 is 90001,Mar") && lost.contains(" 2,"), "{lost}");
        let doubled = found_after(|rows| rows.push(rows[5].clone()));
        assert!(doubled.contains("row 7 is 90001,"), "{doubled}");
        let lost = found_after(|rows| drop(rows.remove(1)));
        assert!(lost.contains("1 other rows are stored, 2 others"), "{lost}");
        let doubled = found_after(|rows| rows.push(rows[1].clone()));
        assert!(doubled.contains("3 other rows are stored, 2 others"), "{doubled}");
        let foreign = found_after(|rows| rows[1] = rows[1].replace("Paz", "Sol"));
        assert!(foreign.contains("or they differ"), "{foreign}");
        let foreign = found_after(|rows| rows.push(rows[1].replace("5,", "6,")));
        assert!(foreign.contains("3 other rows are stored, 2 others"), "{foreign}");
    }

    #[test]
    fn torn_rows_are_found_wherever_they_are() {
        let torn = found_after(|rows| rows[2].truncate(12));
        assert!(torn.contains("is torn: 90001,"), "{torn}");
        let torn = found_after(|rows| rows[5].truncate(20));
        assert!(torn.contains("row 6 is torn") && torn.contains("does not end with"), "{torn}");
        let cut_short = found_after(|rows| rows[5] = rows[5].trim_end().to_owned());
        assert_eq!(cut_short, "bets.csv does not end with a line end");
        let damaged = found_after(|rows| rows[3].insert(0, 'x'));
        assert!(damaged.contains("row 4 has no agency: x90001,"), "{damaged}");
    }
}
