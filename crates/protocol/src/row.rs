//! Rows of `bets.csv`: `agency,first,last,document,birthdate,number`.
//!
//! Writes rows in one form, with quotes only where needed and with `\n`. Reads rows in each form
//! that another system may have written: with `\r\n`, needless quotes, leading zeros or longer
//! names. Each physical line is a row, so that an unbalanced quote damages its own line only.

use csv_core::ReadRecordResult;
use memchr::{memchr, memchr_iter, memchr2};

use crate::bet::Bet;
use crate::canonical_row::{AGENCY_DIGITS_MAX, CanonicalRow, split_agency};
use crate::limits::{CHUNK_BYTES, NUMBER_DIGITS_MAX};
use crate::simd::{Chunk, chunk_at_start};
use crate::values::{AgencyId, BetNumber, decimal, parse_digits, write_number};

/// Appends `bet` as a row of `agency`, with its `\n`.
pub fn write_row(agency: AgencyId, bet: &Bet<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(decimal(agency.get(), &mut [0; 10]));
    for name in [bet.first_name(), bet.last_name()] {
        out.push(b',');
        write_name(name, out);
    }
    for text in [bet.document(), bet.birthdate()] {
        out.push(b',');
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b',');
    write_number(bet.number(), out);
    out.push(b'\n');
}

/// Only a comma or a quote needs quotes, because names contain no line ends.
fn write_name(name: &str, out: &mut Vec<u8>) {
    if memchr2(b',', b'"', name.as_bytes()).is_none() {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    out.push(b'"');
    for part in name.split_inclusive('"') {
        out.extend_from_slice(part.as_bytes());
        if part.ends_with('"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

/// A line of `bets.csv` that is not a row: it does not have six fields, or no agency number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a row of six fields that starts with an agency number")]
pub struct DamagedRow;

/// One stored row. Its fields are not checked again, because the row is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRow<'r> {
    /// The row's agency number, which need not be an agency of this lottery.
    pub agency: u32,
    /// The bet in the wire form, `first;last;document;birthdate;number`, with the number without
    /// leading zeros. The digest is over these bytes.
    pub wire: &'r [u8],
}

impl<'r> StoredRow<'r> {
    /// The bet's document; empty if it is not UTF-8.
    #[must_use]
    pub fn document(&self) -> &'r str {
        let field = self.wire.rsplit(|byte| *byte == b';').nth(2).unwrap_or_default();
        str::from_utf8(field).unwrap_or_default()
    }

    /// The bet's number; `None` if the field is not one.
    #[must_use]
    pub fn number(&self) -> Option<BetNumber> {
        let field = self.wire.rsplit(|byte| *byte == b';').next()?;
        str::from_utf8(field).ok()?.parse().ok()
    }
}

/// The byte of the wire form for a byte of a row without quotes.
fn wire_byte(byte: u8) -> u8 {
    if byte == b',' { b';' } else { byte }
}

/// Reads rows, one line at a time. Keeps its buffers between rows.
#[derive(Debug)]
pub struct RowReader {
    /// A canonical row with `;` instead of commas.
    canonical: Chunk,
    wire: Vec<u8>,
    unquoted: Vec<u8>,
    csv: csv_core::Reader,
}

impl Default for RowReader {
    fn default() -> Self {
        let (canonical, csv) = ([0; CHUNK_BYTES], csv_core::Reader::new());
        Self { canonical, wire: Vec::new(), unquoted: Vec::new(), csv }
    }
}

impl RowReader {
    /// Reads the first of `lines`. Also returns its length in bytes, with its `\n` if it has one.
    ///
    /// # Errors
    /// [`DamagedRow`] if it is not a row.
    pub fn read_first(&mut self, lines: &[u8]) -> (usize, Result<StoredRow<'_>, DamagedRow>) {
        let mut spare = [0; CHUNK_BYTES];
        let chunk = chunk_at_start(lines, b'\n', &mut spare);
        if let Some(CanonicalRow { agency, wire, line_end }) = CanonicalRow::of(chunk) {
            self.canonical = chunk.map(wire_byte);
            let wire = self.canonical.get(wire).unwrap_or_default();
            return ((line_end + 1).min(lines.len()), Ok(StoredRow { agency, wire }));
        }
        let end = memchr(b'\n', lines);
        let line = lines.get(..end.unwrap_or(lines.len())).unwrap_or_default();
        (line.len() + usize::from(end.is_some()), self.read_any(line))
    }

    /// Reads `line`, with or without its end. Bytes after a `\n` are ignored.
    ///
    /// # Errors
    /// [`DamagedRow`] if it is not a row.
    pub fn read(&mut self, line: &[u8]) -> Result<StoredRow<'_>, DamagedRow> {
        self.read_first(line).1
    }

    /// Reads `line`, without its `\n`, in any form.
    fn read_any(&mut self, line: &[u8]) -> Result<StoredRow<'_>, DamagedRow> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let unquoted = self.read_unquoted(line);
        let agency = unquoted.or_else(|| self.read_quoted(line)).ok_or(DamagedRow)?;
        self.normalise_number();
        Ok(StoredRow { agency, wire: &self.wire })
    }

    /// Returns `None` if the row may have quotes.
    fn read_unquoted(&mut self, line: &[u8]) -> Option<u32> {
        let (agency, rest) = split_agency(line)?;
        if memchr2(b'"', b'\r', rest).is_some() || memchr_iter(b',', rest).count() != 4 {
            return None;
        }
        self.wire.clear();
        self.wire.extend(rest.iter().copied().map(wire_byte));
        Some(agency)
    }

    fn read_quoted(&mut self, line: &[u8]) -> Option<u32> {
        // csv-core would remove a byte order mark, which has no meaning within a file.
        if line.starts_with("\u{feff}".as_bytes()) {
            return None;
        }
        let ends = self.unquote(line)?;
        let (mut start, mut agency) = (0, None);
        self.wire.clear();
        for (place, end) in ends.into_iter().enumerate() {
            let field = self.unquoted.get(start..end)?;
            match place {
                0 => agency = Some(agency_number(field)?),
                1 => self.wire.extend_from_slice(field),
                _ => {
                    self.wire.push(b';');
                    self.wire.extend_from_slice(field);
                }
            }
            start = end;
        }
        agency
    }

    /// Writes the six fields of `line` one after the other to `unquoted`, and returns their ends.
    fn unquote(&mut self, line: &[u8]) -> Option<[usize; 6]> {
        let mut ends = [0; 7];
        self.unquoted.resize(line.len() + 1, 0);
        self.csv.reset();
        let (mut read, consumed, written, mut fields) =
            self.csv.read_record(line, &mut self.unquoted, &mut ends);
        if read == ReadRecordResult::InputEmpty {
            let (output, more) = (self.unquoted.get_mut(written..)?, ends.get_mut(fields..)?);
            let (end, _, _, last) = self.csv.read_record(b"", output, more);
            (read, fields) = (end, fields + last);
        }
        // csv-core ends a record at a `\r` within the line, too.
        let is_one = line.get(consumed..)?.iter().all(|byte| *byte == b'\r');
        let is_row = read == ReadRecordResult::Record && is_one && fields == 6;
        ends.first_chunk().copied().filter(|_| is_row)
    }

    fn normalise_number(&mut self) {
        let Some(start) = self.wire.iter().rposition(|byte| *byte == b';').map(|at| at + 1) else {
            return;
        };
        let digits = self.wire.get(start..).unwrap_or_default();
        if digits.len() < 2 || digits.first() != Some(&b'0') || digits.len() > NUMBER_DIGITS_MAX {
            return;
        }
        let number: Option<BetNumber> = str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
        if let Some(number) = number {
            self.wire.truncate(start);
            write_number(number, &mut self.wire);
        }
    }
}

fn agency_number(field: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(field).ok()?;
    parse_digits(digits, AGENCY_DIGITS_MAX).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<(u32, String), DamagedRow> {
        let mut reader = RowReader::default();
        let row = reader.read(line.as_bytes())?;
        Ok((row.agency, String::from_utf8(row.wire.to_vec()).unwrap()))
    }

    #[test]
    fn a_line_of_another_system_is_a_row_or_damaged() {
        let commas = format!("3{}", ",".repeat(256 + 5));
        for (line, wire) in [
            ("3,Ana,Paz,1,2000-01-01,7", Some("Ana;Paz;1;2000-01-01;7")),
            ("3,Ana,Paz,1,2000-01-01,7\r", Some("Ana;Paz;1;2000-01-01;7")),
            ("\"3\",\"Ana\",Paz,1,2000-01-01,\"0007\"", Some("Ana;Paz;1;2000-01-01;7")),
            ("3,Ana,Paz,1,2000-01-01,07", Some("Ana;Paz;1;2000-01-01;7")),
            ("3,Ana,Paz,1,2000-01-01,0000", Some("Ana;Paz;1;2000-01-01;0")),
            ("3,Ana,Paz,1,2000-01-01,0x", Some("Ana;Paz;1;2000-01-01;0x")),
            ("4294967295,A,,,,", Some("A;;;;")),
            (
                "3,\"Ana, B\",\"P \"\"Z\"\"\",1,2000-01-01,7\r",
                Some("Ana, B;P \"Z\";1;2000-01-01;7"),
            ),
            ("", None),
            ("3", None),
            ("3,Ana,Paz,1,2000-01-01", None),
            ("3,Ana,Paz,1,2000-01-01,7,8", None),
            (&commas, None),
            ("x,Ana,Paz,1,2000-01-01,7", None),
            ("3,Ana,Pa3,Leo,Sol,2,2000-01-02,8", None),
            ("\"3,Ana,Paz,1,2000-01-01,7", None),
            ("3,A\rB,Paz,1,2000-01-01,7", None),
            ("\0\0\0\0", None),
            ("\u{feff}3,Ana,Paz,1,2000-01-01,7", None),
            ("4294967296,Ana,Paz,1,2000-01-01,7", None),
        ] {
            let agency = if line.starts_with('4') { u32::MAX } else { 3 };
            assert_eq!(read(line).ok(), wire.map(|wire| (agency, wire.to_owned())), "{line:?}");
        }
    }

    #[test]
    fn rows_are_the_same_on_either_side_of_a_window() {
        let rest = ",Paz,1,2000-01-01,7";
        for bytes in 55..=75 {
            let line = format!("3,{}{rest}", "a".repeat(bytes - rest.len() - 2));
            for end in ["", "\n", "\r\n", "\n3,Leo,Sol,2,2000-01-02,8\n", "\r\n3,Leo\n"] {
                let (lines, mut buffer) = (format!("{line}{end}"), [0; CHUNK_BYTES]);
                let content = lines.split('\n').next().unwrap();
                let chunk = chunk_at_start(lines.as_bytes(), b'\n', &mut buffer);
                assert_eq!(CanonicalRow::of(chunk).is_some(), content.len() < CHUNK_BYTES);
                let (mut fast, mut slow) = (RowReader::default(), RowReader::default());
                let wanted = slow.read_any(content.as_bytes());
                assert!(wanted.is_ok());
                let first = (content.len() + usize::from(!end.is_empty()), wanted);
                assert_eq!(fast.read_first(lines.as_bytes()), first, "{lines:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_line_is_read_as_csv_reads_it(
            line in "[0-9]{0,11}(,[ab\"\r;é]{0,12}|,\"[ab,;é]{0,9}\"|,[a0-9-]{0,20}){4,6}\r?",
        ) {
            let content = line.strip_suffix('\r').unwrap_or(&line);
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).from_reader(content.as_bytes());
            let records: Vec<_> = reader.records().collect();
            let fields: Vec<&str> = match records.as_slice() {
                [Ok(only)] => only.iter().collect(),
                _ => Vec::new(),
            };
            let agency = fields.first().and_then(|agency| agency_number(agency.as_bytes()));
            let wanted = agency.filter(|_| fields.len() == 6).map(|agency| {
                let number = fields[5].parse().map(|number: BetNumber| number.to_string());
                let number = number.unwrap_or_else(|_| fields[5].to_owned());
                let wire = [&fields[1..5], &[number.as_str()]].concat();
                (agency, wire.join(";"))
            });
            prop_assert_eq!(read(&line).ok(), wanted);
        }
    }
}
