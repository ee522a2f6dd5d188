//! What is known of the two logs: each agency's rows and their digest, and who has closed.

use memchr::memchr;
use protocol::{AgencyId, Digest, RowReader};

use super::log::Fold;

/// How many rows of an agency are stored, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgencyRows {
    /// The count of rows.
    pub rows: u64,
    /// The digest of these rows, in their order.
    pub digest: Digest,
}

/// The fold of `bets.csv`. Its size depends on the number of agencies and not on that of bets.
#[derive(Debug)]
pub(crate) struct Ledger {
    agencies: Vec<AgencyRows>,
    reader: RowReader,
}

impl Ledger {
    pub(crate) fn new(agencies_amount: u32) -> Self {
        let agencies = vec![AgencyRows::default(); agencies_amount as usize];
        Self { agencies, reader: RowReader::default() }
    }

    /// How many agencies are known here.
    pub(crate) fn agencies_amount(&self) -> u32 {
        u32::try_from(self.agencies.len()).unwrap_or(u32::MAX)
    }

    /// The rows of an agency; none of an agency that is unknown here.
    pub(crate) fn of(&self, agency: AgencyId) -> AgencyRows {
        self.agencies.get(agency.index()).copied().unwrap_or_default()
    }

    /// How many bets of this lottery's agencies are stored.
    pub(crate) fn bets(&self) -> u64 {
        self.agencies.iter().map(|agency| agency.rows).sum()
    }
}

impl Fold for Ledger {
    fn first_line(&mut self, lines: &[u8]) -> (usize, bool) {
        let (bytes, row) = self.reader.read_first(lines);
        let Ok(row) = row else { return (bytes, false) };
        let agency = AgencyId::new(row.agency).map(AgencyId::index);
        if let Some(known) = agency.and_then(|index| self.agencies.get_mut(index)) {
            known.rows += 1;
            known.digest = known.digest.fold(row.wire);
        }
        (bytes, true)
    }

    fn reset(&mut self) {
        self.agencies.fill(AgencyRows::default());
    }
}

/// The fold of `agencies_closed.txt`. Unknown agencies and repeated closes change nothing.
#[derive(Debug)]
pub(crate) struct Closes {
    closed: Vec<bool>,
    left: usize,
}

impl Closes {
    pub(crate) fn new(agencies_amount: u32) -> Self {
        let amount = agencies_amount as usize;
        Self { closed: vec![false; amount], left: amount }
    }

    pub(crate) fn contains(&self, agency: AgencyId) -> bool {
        self.closed.get(agency.index()).copied().unwrap_or(false)
    }

    /// How many have closed, of how many, in words.
    pub(crate) fn summary(&self) -> String {
        format!("{} of {} agencies have closed", self.closed.len() - self.left, self.closed.len())
    }

    /// Whether every agency of this lottery has closed.
    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Takes a line; says whether it made sense.
    fn line(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii();
        let agency = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        let Some(agency) = agency else { return line.iter().all(u8::is_ascii_digit) };
        if let Some(closed) = self.closed.get_mut(AgencyId::index(agency))
            && !*closed
        {
            *closed = true;
            self.left -= 1;
        }
        true
    }
}

impl Fold for Closes {
    fn first_line(&mut self, lines: &[u8]) -> (usize, bool) {
        let bytes = memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        (bytes, self.line(lines.get(..bytes).unwrap_or_default()))
    }

    fn reset(&mut self) {
        self.closed.fill(false);
        self.left = self.closed.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agency(number: u32) -> AgencyId {
        AgencyId::new(number).unwrap()
    }

    #[test]
    fn the_ledger_counts_the_agencies_it_knows() {
        let mut ledger = Ledger::new(2);
        let lines = b"2,Ana,Paz,1,2000-01-01,7\r\n3,Leo,Sol,2,2000-01-02,8";
        assert_eq!(ledger.first_line(lines), (26, true));
        assert_eq!(ledger.first_line(&lines[26..]), (lines.len() - 26, true));
        assert_eq!(ledger.first_line(b"2,Ana\n"), (6, false));
        let digest = Digest::default().fold(b"Ana;Paz;1;2000-01-01;7");
        assert_eq!(ledger.of(agency(2)), AgencyRows { rows: 1, digest });
        assert_eq!((ledger.of(agency(1)).rows, ledger.of(agency(3)).rows), (0, 0));
        assert_eq!(ledger.bets(), 1);
        ledger.reset();
        assert_eq!(ledger.bets(), 0);
    }

    #[test]
    fn closes_are_complete_with_every_agency_once() {
        let mut closes = Closes::new(2);
        for line in [&b"2"[..], b"2\r", b"7", b"", b" 2 ", b"0", b"99999999999"] {
            assert!(closes.line(line));
            assert!(!closes.is_complete());
        }
        assert!(!closes.line(b"one"));
        assert!(closes.line(b"1"));
        assert!(closes.is_complete() && closes.contains(agency(1)) && !closes.contains(agency(7)));
        closes.reset();
        assert!(!closes.is_complete() && !closes.contains(agency(1)));
    }
}
