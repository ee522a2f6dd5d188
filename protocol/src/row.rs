//! Rows of `bets.csv`: `agency,first,last,document,birthdate,number`.
//!
//! Rows are written in one form: quoting where needed, `\n` at the end. Rows are read in every
//! form that another system may have left: `\r\n` ends, needless quotes, numbers with leading
//! zeros, names longer than ours may be. A physical line is a row, so that one unbalanced quote
//! damages its own line and not those after it.

use memchr::{memchr, memchr_iter, memchr3};

use crate::limits::NUMBER_DIGITS_MAX;
use crate::values::{AgencyId, Bet, BetNumber, plain_digits, write_number};

/// Appends `bet` as a row of `agency`, with its `\n`.
pub fn write_row(agency: AgencyId, bet: &Bet<'_>, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    out.extend_from_slice(decimal(agency.get(), &mut digits));
    for name in [bet.first_name(), bet.last_name()] {
        out.push(b',');
        write_name(name, out);
    }
    for plain in [bet.document(), bet.birthdate()] {
        out.push(b',');
        out.extend_from_slice(plain.as_bytes());
    }
    out.push(b',');
    write_number(bet.number(), out);
    out.push(b'\n');
}

pub(crate) fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start = place;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

/// Only names can need quotes, and only for a comma or a quote: they hold no line ends.
fn write_name(name: &str, out: &mut Vec<u8>) {
    if memchr::memchr2(b',', b'"', name.as_bytes()).is_none() {
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

/// A line of `bets.csv` that is no row: not six fields, no agency number, or not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a row of six fields that starts with an agency number")]
pub struct DamagedRow;

/// One row as it is stored. Its fields are taken as they are: what is stored is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRow<'r> {
    /// The agency's number, as the row has it; it need not be an agency of this lottery.
    pub agency: u32,
    /// The rest as it stands on the wire, `first;last;document;birthdate;number`, the number
    /// without leading zeros: what the digest is over.
    pub wire: &'r [u8],
}

impl<'r> StoredRow<'r> {
    /// The document of the bet. A document that is not UTF-8 comes out empty.
    #[must_use]
    pub fn document(&self) -> &'r str {
        let field = self.wire.rsplit(|b| *b == b';').nth(2).unwrap_or_default();
        str::from_utf8(field).unwrap_or_default()
    }

    /// The number that was bet on; `None` if what is stored there is no such number.
    #[must_use]
    pub fn number(&self) -> Option<BetNumber> {
        let field = self.wire.rsplit(|b| *b == b';').next()?;
        str::from_utf8(field).ok()?.parse().ok()
    }
}

/// Reads rows, one line at a time, in one buffer.
#[derive(Debug, Default)]
pub struct RowReader {
    wire: Vec<u8>,
}

impl RowReader {
    /// Reads `line`, with or without the `\r` of its end, without its `\n`.
    ///
    /// # Errors
    /// [`DamagedRow`] if it is no row.
    pub fn read(&mut self, line: &[u8]) -> Result<StoredRow<'_>, DamagedRow> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.wire.clear();
        let agency = if memchr3(b'"', b'\r', 0, line).is_none() {
            self.read_plain(line)
        } else {
            self.read_quoted(line)
        };
        let agency = agency.ok_or(DamagedRow)?;
        self.normalise_number();
        Ok(StoredRow { agency, wire: &self.wire })
    }

    /// A row without quotes is the wire's form with other separators.
    fn read_plain(&mut self, line: &[u8]) -> Option<u32> {
        let (agency, rest) = line.split_at(memchr(b',', line)?);
        let agency = agency_number(agency)?;
        let rest = rest.get(1..)?;
        self.wire.extend_from_slice(rest);
        let mut commas = 0;
        for at in memchr_iter(b',', rest) {
            *self.wire.get_mut(at)? = b';';
            commas += 1;
        }
        (commas == 4).then_some(agency)
    }

    fn read_quoted(&mut self, line: &[u8]) -> Option<u32> {
        let mut builder = csv::ReaderBuilder::new();
        let mut reader =
            builder.has_headers(false).buffer_capacity(line.len() + 1).from_reader(line);
        let mut record = csv::ByteRecord::new();
        let is_row = reader.read_byte_record(&mut record).ok()? && record.len() == 6;
        if !is_row || reader.read_byte_record(&mut csv::ByteRecord::new()).ok()? {
            return None;
        }
        let mut fields = record.iter();
        let agency = agency_number(fields.next()?)?;
        for (place, field) in fields.enumerate() {
            if place > 0 {
                self.wire.push(b';');
            }
            self.wire.extend_from_slice(field);
        }
        Some(agency)
    }

    fn normalise_number(&mut self) {
        let Some(start) = memchr::memrchr(b';', &self.wire).map(|at| at + 1) else { return };
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
    plain_digits(digits, 10).and_then(|number| u32::try_from(number).ok())
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

    fn write(agency: u32, fields: [&str; 5]) -> String {
        let mut out = Vec::new();
        write_row(AgencyId::new(agency).unwrap(), &Bet::new(fields).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_quotes_where_they_are_needed_only() {
        for (fields, row) in [
            (["Ana", "Paz", "1", "2000-01-01", "07"], "12,Ana,Paz,1,2000-01-01,7\n"),
            (["Ana, B", "Paz", "1", "2000-01-01", "7"], "12,\"Ana, B\",Paz,1,2000-01-01,7\n"),
            (["\"Ana\"", "P", "1", "2000-01-01", "7"], "12,\"\"\"Ana\"\"\",P,1,2000-01-01,7\n"),
            (["Iñaki", "O'Hara", "1", "2000-01-01", "0"], "12,Iñaki,O'Hara,1,2000-01-01,0\n"),
        ] {
            assert_eq!(write(12, fields), row);
        }
    }

    #[test]
    fn reads_what_another_system_left() {
        for (line, wire) in [
            ("3,Ana,Paz,1,2000-01-01,7", "Ana;Paz;1;2000-01-01;7"),
            ("3,Ana,Paz,1,2000-01-01,7\r", "Ana;Paz;1;2000-01-01;7"),
            ("\"3\",\"Ana\",Paz,1,2000-01-01,\"0007\"", "Ana;Paz;1;2000-01-01;7"),
            ("3,Ana,Paz,1,2000-01-01,0000", "Ana;Paz;1;2000-01-01;0"),
            ("3,Ana,Paz,1,2000-01-01,0x", "Ana;Paz;1;2000-01-01;0x"),
            ("3,\"Ana, B\",\"P \"\"Z\"\"\",1,2000-01-01,7\r", "Ana, B;P \"Z\";1;2000-01-01;7"),
        ] {
            assert_eq!(read(line), Ok((3, wire.to_owned())), "{line}");
        }
    }

    #[test]
    fn a_damaged_line_is_no_row() {
        for line in [
            "",
            "3",
            "3,Ana,Paz,1,2000-01-01",
            "3,Ana,Paz,1,2000-01-01,7,8",
            "x,Ana,Paz,1,2000-01-01,7",
            "3,Ana,Pa3,Leo,Sol,2,2000-01-02,8",
            "\"3,Ana,Paz,1,2000-01-01,7",
            "3,A\rB,Paz,1,2000-01-01,7",
            "\0\0\0\0",
        ] {
            assert_eq!(read(line), Err(DamagedRow), "{line:?}");
        }
    }

    #[test]
    fn tells_document_and_number() {
        let mut reader = RowReader::default();
        let row = reader.read(b"3,Ana,Paz,30904465,2000-01-01,07574").unwrap();
        assert_eq!((row.document(), row.number()), ("30904465", BetNumber::new(7574)));
        let row = reader.read(b"3,Ana,Paz,1,2000-01-01,many").unwrap();
        assert_eq!(row.number(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_by_us_and_by_csv(
            first in "[^;:\\pC]{1,25}", last in "[^;:\\pC]{1,25}", number in 0..=9999_u16,
        ) {
            let number = number.to_string();
            let fields = [first.as_str(), last.as_str(), "A1", "2000-01-01", &number];
            let row = write(7, fields);
            let wire = fields.join(";");
            prop_assert_eq!(read(row.trim_end_matches('\n')), Ok((7, wire)));
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).from_reader(row.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.iter().skip(1).collect::<Vec<_>>(), fields);
        }

        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = RowReader::default().read(&line);
        }
    }
}
