//! Rows of `bets.csv`: any line is damaged, or is the same row for every reader.

use protocol::{AgencyId, Bet, RowReader, write_row};

use super::records::Record;

/// A line's row, if it is one: agency, wire form, document and number.
type Row = Option<(u32, Vec<u8>, String, Option<u16>)>;

fn read(reader: &mut RowReader, line: &[u8]) -> Row {
    let row = reader.read(line).ok()?;
    let number = row.number().map(protocol::BetNumber::get);
    Some((row.agency, row.wire.to_vec(), row.document().to_owned(), number))
}

/// A line is read as the same row after any other line and with either line end. A row that is a
/// valid bet is read as the same row after it was written.
pub fn a_line_is_one_row_or_damaged(line: &[u8]) {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let row = read(&mut RowReader::default(), line);
    let mut used = RowReader::default();
    let _ = used.read(b"7,\"A, B\",C,1,2000-01-01,0007");
    assert_eq!(read(&mut used, line), row);
    if !line.ends_with(b"\r") {
        assert_eq!(read(&mut used, &[line, b"\r"].concat()), row);
    }
    if let Some((agency, wire, document, number)) = row {
        is_written_as_it_was_read(agency, &wire, &document, number);
    }
}

/// Lines are the same rows, whether they are read together or each alone.
pub fn lines_are_rows_one_by_one(lines: &[u8]) {
    let mut reader = RowReader::default();
    let mut rest = lines;
    while !rest.is_empty() {
        let first = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut alone = RowReader::default();
        assert_eq!(reader.read_first(rest), (first.len(), alone.read(first)));
        rest = &rest[first.len()..];
    }
}

fn is_written_as_it_was_read(agency: u32, wire: &[u8], document: &str, number: Option<u16>) {
    let Some(agency) = AgencyId::new(agency) else { return };
    let Ok(text) = str::from_utf8(wire) else { return };
    let Ok(fields) = <[&str; 5]>::try_from(text.split(';').collect::<Vec<_>>()) else { return };
    let Ok(bet) = Bet::new(fields) else { return };
    assert_eq!((bet.document(), Some(bet.number().get())), (document, number));
    let mut written = Vec::new();
    write_row(agency, &bet, &mut written);
    let mut by_csv = csv::ReaderBuilder::new().has_headers(false).from_reader(&written[..]);
    let record = by_csv.byte_records().next().expect("a row").expect("a row");
    let wanted = [fields[0], fields[1], fields[2], fields[3], &bet.number().to_string()];
    assert!(record.iter().skip(1).eq(wanted.map(str::as_bytes)), "{record:?}");
    assert_eq!(written.pop(), Some(b'\n'));
    let again = read(&mut RowReader::default(), &written);
    assert_eq!(again, Some((agency.get(), wire.to_vec(), document.to_owned(), number)));
}

/// The records that the `csv` crate finds in `bytes`, written by that crate with either line end,
/// are read as the same rows, or are damaged if they are not rows.
pub fn records_are_rows(bytes: &[u8]) {
    let mut reader = RowReader::default();
    for record in Record::all(bytes) {
        for is_crlf in [false, true] {
            let line = record.line(is_crlf);
            let content = line.strip_suffix(b"\n").expect("a line has its end");
            let row = read(&mut reader, content).map(|(agency, wire, ..)| (agency, wire));
            assert_eq!(row, record.row(), "{:?}", String::from_utf8_lossy(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEAR_ROW: &str = "\"?(1|2|0|007|100001|4294967296|x|)\"?,(Ana|\"A, B\"|\"\"\"\"|;|\"|),\
        (Paz|\u{0}|ñ|[^;:,\"\\pC]{1,25}|),(1|),(2000-01-01|1|),\
        \"?(7574|07|0007|00000|12345|000000000000000000001|)\"?\r?";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3 * 256))]
        #[test]
        fn hold_for_near_rows_and_any_bytes(
            bytes in prop_oneof![
                NEAR_ROW.prop_map(String::into_bytes),
                prop::collection::vec(NEAR_ROW, 1..5).prop_map(|lines| lines.join("\n").into()),
                prop::collection::vec(any::<u8>(), 0..100),
            ],
        ) {
            lines_are_rows_one_by_one(&bytes);
            a_line_is_one_row_or_damaged(&bytes);
            records_are_rows(&bytes);
        }
    }
}
