//! What the lines of the two logs are applied to: the rows of `bets.csv` and the closes of
//! `agencies_closed.txt`, each to its part of the lottery's state.

use journal::Fold;
use lottery::State;
use memchr::memchr;
use protocol::{AgencyId, RowReader};

/// Rows of `bets.csv`.
pub(super) struct Rows<'s> {
    pub(super) state: &'s mut State,
    pub(super) reader: &'s mut RowReader,
}

impl Fold for Rows<'_> {
    fn first_line(&mut self, lines: &[u8]) -> (usize, bool) {
        let (bytes, row) = self.reader.read_first(lines);
        let Ok(row) = row else { return (bytes, false) };
        if let Some(agency) = AgencyId::new(row.agency) {
            self.state.apply_row(agency, row.wire);
        }
        (bytes, true)
    }

    fn reset(&mut self) {
        self.state.forget_rows();
    }
}

/// Lines of `agencies_closed.txt`. Unknown agencies and repeated closes change nothing.
pub(super) struct Closes<'s>(pub(super) &'s mut State);

impl Fold for Closes<'_> {
    fn first_line(&mut self, lines: &[u8]) -> (usize, bool) {
        let bytes = memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        let line = lines.get(..bytes).unwrap_or_default().trim_ascii();
        let agency = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        let Some(agency) = agency else { return (bytes, line.iter().all(u8::is_ascii_digit)) };
        self.0.close(agency);
        (bytes, true)
    }

    fn reset(&mut self) {
        self.0.forget_closes();
    }
}

#[cfg(test)]
mod tests {
    use lottery::AgencyRows;
    use protocol::Digest;

    use super::*;

    fn agency(number: u32) -> AgencyId {
        AgencyId::new(number).unwrap()
    }

    #[test]
    fn rows_of_known_agencies_are_counted() {
        let (mut state, mut reader) = (State::new(2), RowReader::default());
        let mut rows = Rows { state: &mut state, reader: &mut reader };
        let lines = b"2,Ana,Paz,1,2000-01-01,7\r\n3,Leo,Sol,2,2000-01-02,8";
        assert_eq!(rows.first_line(lines), (26, true));
        assert_eq!(rows.first_line(&lines[26..]), (lines.len() - 26, true));
        assert_eq!(rows.first_line(b"2,Ana\n"), (6, false));
        let digest = Digest::default().fold(b"Ana;Paz;1;2000-01-01;7");
        assert_eq!(rows.state.stored(agency(2)), AgencyRows { rows: 1, digest });
        assert_eq!(rows.state.bets(), 1);
        rows.reset();
        assert_eq!(state.bets(), 0);
    }

    #[test]
    fn closes_are_complete_with_every_agency_once() {
        let mut state = State::new(2);
        let mut closes = Closes(&mut state);
        for line in [&b"2"[..], b"2\r", b"7", b"", b" 2 ", b"0", b"99999999999"] {
            assert_eq!(closes.first_line(line), (line.len(), true));
            assert!(!closes.0.is_complete());
        }
        assert_eq!(closes.first_line(b"one\n1"), (4, false));
        assert_eq!(closes.first_line(b"1\n2"), (2, true));
        assert!(closes.0.is_complete() && !closes.0.is_closed(agency(7)));
        closes.reset();
        assert!(!state.is_complete() && !state.is_closed(agency(1)));
    }
}
