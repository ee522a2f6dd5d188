//! An agency's file of bets, read row by row: memory does not grow with the number of rows.

use std::fs::File;

use anyhow::{Context as _, bail};
use csv::ByteRecord;
use harness::bets_dir::BetsDirectory;

use crate::head::Head;

/// A file of bets, and what its rows so far come to.
#[derive(Debug)]
pub(crate) struct AgencyFile {
    pub agency: u32,
    winner_number: String,
    reader: csv::Reader<File>,
    /// The row that was read last.
    pub row: ByteRecord,
    /// Count and digest of the rows so far.
    pub head: Head,
    /// The winners' documents so far, in the order of the file.
    pub winners: Vec<String>,
}

impl AgencyFile {
    /// # Errors
    /// The file cannot be opened.
    pub fn open(bets: &BetsDirectory, agency: u32, winner_number: u16) -> anyhow::Result<Self> {
        let path = bets.file(agency);
        let reader = csv::ReaderBuilder::new().has_headers(false).from_path(&path);
        Ok(Self {
            agency,
            winner_number: winner_number.to_string(),
            reader: reader.with_context(|| format!("open {}", path.display()))?,
            row: ByteRecord::new(),
            head: Head::default(),
            winners: Vec::new(),
        })
    }

    /// Reads the next row; false at the end.
    ///
    /// # Errors
    /// It cannot be read, or is malformed.
    pub fn advance(&mut self) -> anyhow::Result<bool> {
        let agency = self.agency;
        let read = self.reader.read_byte_record(&mut self.row);
        if !read.with_context(|| format!("read agency-{agency}.csv"))? {
            return Ok(false);
        }
        let fields: Vec<&[u8]> = self.row.iter().collect();
        let &[first, last, document, birthdate, number] = fields.as_slice() else {
            bail!("agency-{agency}.csv, row {}: not five fields", self.head.rows + 1);
        };
        let number = plain(number);
        self.head.push(&[first, last, document, birthdate, number]);
        if number == self.winner_number.as_bytes() {
            self.winners.push(String::from_utf8_lossy(document).into_owned());
        }
        Ok(true)
    }

    /// Whether the stored row, agency first, has the fields of the row that was read last.
    pub fn is(&self, stored: &ByteRecord) -> bool {
        let mut fields = self.row.iter().zip(stored.iter().skip(1)).enumerate();
        stored.len() == 6
            && fields.all(|(place, (wanted, field))| match place {
                4 => plain(wanted) == plain(field),
                _ => wanted == field,
            })
    }
}

/// A number without its leading zeros.
fn plain(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    number.get(zeros.min(number.len().saturating_sub(1))..).unwrap_or_default()
}
