//! Every stored row against the row of its agency's file in the same place.
//!
//! One pass over `bets.csv`, and one over each file of bets, abreast: memory does not grow with
//! the number of bets.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, bail};
use csv::ByteRecord;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{AgencyAudit, Expected, Problem};
use harness::volume::LineCounter;

/// Compares what is stored with the files of bets.
pub(super) fn compare(
    expected: &Expected<'_>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<AgencyAudit>> {
    let mut agencies = (1..=expected.bets.agencies())
        .map(|agency| Agency::open(agency, expected))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let path = expected.volume.bets();
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => {
            let file = opened.with_context(|| format!("open {}", path.display()))?;
            let rows = read_stored(&file, &mut agencies, problems)?;
            check_lines(&file, &path, rows, problems)?;
        }
    }
    agencies.into_iter().map(|agency| agency.finish(problems)).collect()
}

/// Gives every stored row to its agency; returns how many there are.
fn read_stored(
    file: &File,
    agencies: &mut [Agency],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<u64> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
    let mut stored = ByteRecord::new();
    let (mut place, mut foreign) = (0, Vec::new());
    while reader.read_byte_record(&mut stored).context("read bets.csv")? {
        place += 1;
        let number = stored.get(0).and_then(|field| str::from_utf8(field).ok()?.parse().ok());
        match number.and_then(|number: usize| agencies.get_mut(number.checked_sub(1)?)) {
            Some(agency) => agency.compare(&stored)?,
            None => foreign.push(place),
        }
    }
    if let Some(row) = foreign.first() {
        problems.push(Problem::Foreign { rows: foreign.len() as u64, row: *row });
    }
    Ok(place)
}

/// An unbalanced quote makes one record of many lines: there must be as many lines as records.
fn check_lines(
    file: &File,
    path: &Path,
    rows: u64,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<()> {
    let lines = LineCounter::new(path.to_owned()).count().context("count lines of bets.csv")?;
    let torn = !ends_with_line_end(file).context("read the end of bets.csv")?;
    if torn {
        problems.push(Problem::TornEnd);
    }
    if lines + u64::from(torn) != rows {
        problems.push(Problem::Lines { lines, rows });
    }
    Ok(())
}

fn ends_with_line_end(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// An agency's file, read up to the row that the next stored one must be.
struct Agency {
    number: u32,
    winner_number: u16,
    file: csv::Reader<File>,
    row: ByteRecord,
    rows: u64,
    winners: Vec<String>,
    digest: u64,
    stored: u64,
    surplus: u64,
    differing: u64,
    first_difference: Option<(u64, String, String)>,
}

impl Agency {
    fn open(number: u32, expected: &Expected<'_>) -> anyhow::Result<Self> {
        let path = expected.bets.file(number);
        let file = csv::ReaderBuilder::new().has_headers(false).from_path(&path);
        Ok(Self {
            number,
            winner_number: expected.winner_number,
            file: file.with_context(|| format!("open {}", path.display()))?,
            row: ByteRecord::new(),
            rows: 0,
            winners: Vec::new(),
            digest: 0,
            stored: 0,
            surplus: 0,
            differing: 0,
            first_difference: None,
        })
    }

    /// Reads the next row of the file; false at its end.
    fn advance(&mut self) -> anyhow::Result<bool> {
        let agency = self.number;
        let read = self.file.read_byte_record(&mut self.row);
        if !read.with_context(|| format!("read agency-{agency}.csv"))? {
            return Ok(false);
        }
        self.rows += 1;
        let fields: Vec<&[u8]> = self.row.iter().collect();
        let &[first, last, document, birthdate, number] = fields.as_slice() else {
            bail!("agency-{agency}.csv, row {}: not five fields", self.rows);
        };
        let number = plain(number);
        let wire = [first, last, document, birthdate, number].join(&b';');
        self.digest = xxh3_64_with_seed(&wire, self.digest);
        if number == self.winner_number.to_string().as_bytes() {
            self.winners.push(String::from_utf8_lossy(document).into_owned());
        }
        Ok(true)
    }

    /// Compares a stored row with the next row of the file.
    fn compare(&mut self, stored: &ByteRecord) -> anyhow::Result<()> {
        self.stored += 1;
        if !self.advance()? {
            self.surplus += 1;
            return Ok(());
        }
        if !same(&self.row, stored) {
            self.differing += 1;
            if self.first_difference.is_none() {
                let stored = text(stored.iter().skip(1));
                self.first_difference = Some((self.rows, stored, text(self.row.iter())));
            }
        }
        Ok(())
    }

    /// Reads the rest of the file, none of which is stored.
    fn finish(mut self, problems: &mut Vec<Problem>) -> anyhow::Result<AgencyAudit> {
        while self.advance()? {}
        let (agency, right) = (self.number, self.stored - self.surplus);
        if let Some((row, stored, wanted)) = self.first_difference {
            problems.push(Problem::Differ { agency, rows: self.differing, row, stored, wanted });
        }
        if right < self.rows {
            problems.push(Problem::Missing { agency, rows: self.rows - right, row: right + 1 });
        }
        if self.surplus > 0 {
            problems.push(Problem::Surplus { agency, rows: self.surplus });
        }
        Ok(AgencyAudit {
            agency,
            bets: self.rows,
            stored: self.stored,
            winners: self.winners,
            digest: format!("{:016x}", self.digest),
        })
    }
}

/// A number without its leading zeros.
fn plain(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    number.get(zeros.min(number.len().saturating_sub(1))..).unwrap_or_default()
}

/// Whether the stored row, agency first, has the fields of the file's row.
fn same(row: &ByteRecord, stored: &ByteRecord) -> bool {
    row.len() == 5
        && stored.len() == 6
        && row.iter().zip(stored.iter().skip(1)).enumerate().all(|(place, (wanted, field))| {
            if place == 4 { plain(wanted) == plain(field) } else { wanted == field }
        })
}

fn text<'f>(fields: impl Iterator<Item = &'f [u8]>) -> String {
    fields.map(String::from_utf8_lossy).collect::<Vec<_>>().join(";")
}
