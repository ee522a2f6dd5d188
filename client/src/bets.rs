//! An agency's bets: the whole file, validated, and kept in the wire form.
//!
//! Each physical line is a row, so that an unbalanced quote affects its own line only. The last
//! line needs no line end. One blank line at the very end is skipped; any other blank line is an
//! error. It does not know connections.
//!
//! **Invariant**: each row in [`Bets`] is a valid bet in the wire form. So consecutive rows are a
//! slice of one text, which a packet contains without being checked again.

mod read;

use std::fmt;
use std::io::{self, BufRead};

use protocol::limits::ROWS_HEAD_BYTES_MAX;
use protocol::{Bet, Digest, InvalidField};

use crate::limits::{BAD_LINES_SHOWN_MAX, FILE_READ_BYTES, SHOWN_VALUE_CHARS_MAX};

/// An agency's bets, in order. Memory: the text of the rows, and 8 bytes a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bets {
    /// All rows as `first;last;document;birthdate;number`, each followed by a `:`.
    wire: String,
    /// Where each row ends, which is where its `:` stands.
    ends: Vec<usize>,
}

/// The limits of one packet. The first one that is reached ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most bets, from 1.
    pub bets: usize,
    /// The most bytes, `\n` included; at least [`crate::limits::PACKET_BYTES_MIN`].
    pub bytes: usize,
}

/// Consecutive rows that fit a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'b> {
    /// The row of the first bet, from 1.
    pub first_row: u64,
    /// The number of bets, from 1.
    pub rows: u64,
    /// The bets in the wire form, with `:` between them.
    pub wire: &'b str,
}

impl Batch<'_> {
    /// The row of the last bet.
    #[must_use]
    pub fn last_row(&self) -> u64 {
        self.first_row + self.rows - 1
    }
}

impl Bets {
    /// One bet.
    #[must_use]
    pub fn of_one(bet: &Bet<'_>) -> Self {
        let mut bets = Self::default();
        bets.push(bet, &mut Vec::new());
        bets
    }

    /// Reads CSV without a header, `first,last,document,birthdate,number`: UTF-8 with or without
    /// a byte order mark, lines ended by `\n` or `\r\n`, quoted where needed.
    ///
    /// # Errors
    /// [`ReadError::Bad`] names each line that is not a bet; [`ReadError::Io`] is the reader's.
    pub fn read(input: impl BufRead) -> Result<Self, ReadError> {
        read::read(input, FILE_READ_BYTES)
    }

    /// Appends a row. Its wire form is written to `buffer` first.
    fn push(&mut self, bet: &Bet<'_>, buffer: &mut Vec<u8>) {
        buffer.clear();
        bet.write_wire(buffer);
        self.wire.push_str(str::from_utf8(buffer).expect("bets are UTF-8"));
        self.ends.push(self.wire.len());
        self.wire.push(':');
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The digest of the first `rows` rows; `None` if there are fewer.
    #[must_use]
    pub fn digest(&self, rows: u64) -> Option<Digest> {
        self.fold(Digest::default(), 0, rows)
    }

    /// The digest of the first `to` rows, from that of the first `from`; `None` if there are fewer
    /// rows or `from` is greater than `to`.
    #[must_use]
    pub fn fold(&self, digest: Digest, from: u64, to: u64) -> Option<Digest> {
        let (from, to) = (index(from), index(to));
        let ends = self.ends.get(from..to)?;
        let mut start = self.start_of(from)?;
        let mut digest = digest;
        for &end in ends {
            digest = digest.fold(self.wire.as_bytes().get(start..end)?);
            start = end + 1;
        }
        Some(digest)
    }

    /// The rows' documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.wire.split_terminator(':').filter_map(|row| row.split(';').nth(2))
    }

    /// The longest batch that starts with `first_row`, from 1, within `limits`, but at least one
    /// bet; `None` after the last row.
    #[must_use]
    pub fn batch(&self, first_row: u64, limits: BatchLimits) -> Option<Batch<'_>> {
        let first = index(first_row.checked_sub(1)?);
        let last = self.ends.len().min(first.saturating_add(limits.bets));
        let ends = self.ends.get(first..last).filter(|ends| !ends.is_empty())?;
        let start = self.start_of(first)?;
        let room = limits.bytes.saturating_sub(ROWS_HEAD_BYTES_MAX + 1);
        let rows = ends.partition_point(|end| end - start <= room).max(1);
        let wire = self.wire.get(start..*ends.get(rows - 1)?)?;
        Some(Batch { first_row, rows: rows as u64, wire })
    }

    /// The offset of the row with the index `row`, which may be the one after the last.
    fn start_of(&self, row: usize) -> Option<usize> {
        match row.checked_sub(1) {
            None => Some(0),
            Some(before) => self.ends.get(before).map(|end| end + 1),
        }
    }
}

/// A row count as an index. One that does not fit is greater than any index.
fn index(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// Why a file of bets was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Lines of it are not bets.
    #[error("{0}")]
    Bad(BadLines),
}

/// The lines that are not bets: the first [`BAD_LINES_SHOWN_MAX`], and the number of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadLines {
    /// Line numbers, from 1, and what is wrong there.
    pub lines: Vec<(u64, String)>,
    /// The number of all such lines.
    pub count: u64,
}

impl BadLines {
    fn push(&mut self, line: u64, reason: String) {
        self.count += 1;
        if self.lines.len() < BAD_LINES_SHOWN_MAX {
            self.lines.push((line, reason));
        }
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (line, reason)) in self.lines.iter().enumerate() {
            let separator = if place > 0 { "\n" } else { "" };
            write!(f, "{separator}line {line}: {reason}")?;
        }
        match self.count - self.lines.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\nand {more} more bad lines"),
        }
    }
}

/// For each field, in order, why it breaks its rule and its value, if it does.
pub(crate) fn invalid_fields(
    fields: [&str; 5],
) -> impl Iterator<Item = Option<(InvalidField, &str)>> {
    fields.into_iter().enumerate().map(|(place, value)| {
        // The other fields of this bet break no rule.
        let mut bet = ["A", "A", "1", "2000-01-01", "0"];
        *bet.get_mut(place)? = value;
        Bet::new(bet).err().map(|invalid| (invalid, value))
    })
}

/// A value for a message: quoted, shortened, without control characters.
pub(crate) fn quoted(value: &str) -> String {
    let mut cut: String = value.chars().take(SHOWN_VALUE_CHARS_MAX).collect();
    if cut.len() < value.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

#[cfg(test)]
#[path = "bets_tests.rs"]
mod tests;
