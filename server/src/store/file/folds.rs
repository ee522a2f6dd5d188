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
    fn first_line(&mut self, _offset: u64, lines: &[u8]) -> (usize, bool) {
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
    fn first_line(&mut self, _offset: u64, lines: &[u8]) -> (usize, bool) {
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
