//! The draw, as a pure function of the rows and of the winning number.
//!
//! **Invariant**: the same rows in the same order and the same number give the same winners, on
//! every instance, at any time.

use std::collections::BTreeMap;

use memchr::{memchr_iter, memchr2, memmem, memrchr};
use protocol::{AgencyId, BetNumber, RowReader};

/// The winners of every agency, found in its rows in their order.
#[derive(Debug)]
pub struct Winners {
    number: BetNumber,
    digits: String,
    /// Finds the digits at the end of a line.
    finder: memmem::Finder<'static>,
    agencies_amount: u32,
    /// By agency, of those that have any.
    documents: BTreeMap<AgencyId, Vec<String>>,
    reader: RowReader,
}

impl Winners {
    /// No winners yet, of the agencies 1..=`agencies_amount`.
    #[must_use]
    pub fn new(number: BetNumber, agencies_amount: u32) -> Self {
        let digits = number.to_string();
        Self {
            number,
            finder: memmem::Finder::new(&format!("{digits}\n")).into_owned(),
            digits,
            agencies_amount,
            documents: BTreeMap::new(),
            reader: RowReader::default(),
        }
    }

    /// Takes the next rows of `bets.csv`, whole lines. Rows of unknown agencies and damaged lines
    /// count for nothing.
    ///
    /// Only lines that may be a winner's are read as rows. Where nothing is quoted and no line ends
    /// otherwise than ours do, they are found without looking at the others.
    pub fn take(&mut self, lines: &[u8]) {
        if lines.ends_with(b"\n") && memchr2(b'"', b'\r', lines).is_none() {
            self.take_found(lines);
            return;
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', lines).chain([lines.len()]) {
            self.take_line(lines.get(start..end).unwrap_or_default());
            start = end + 1;
        }
    }

    fn take_found(&mut self, lines: &[u8]) {
        let mut from = 0;
        while let Some(at) = lines.get(from..).and_then(|rest| self.finder.find(rest)) {
            let end = from + at + self.digits.len();
            let start = memrchr(b'\n', lines.get(..end).unwrap_or_default()).map_or(0, |at| at + 1);
            self.take_line(lines.get(start..end).unwrap_or_default());
            from = end + 1;
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        if may_win(line, self.digits.as_bytes()) {
            self.take_row(line);
        }
    }

    /// These winners, and `later` ones from rows that stand behind theirs.
    #[must_use]
    pub fn followed_by(mut self, later: Self) -> Self {
        for (agency, more) in later.documents {
            self.documents.entry(agency).or_default().extend(more);
        }
        self
    }

    fn take_row(&mut self, line: &[u8]) {
        let Ok(row) = self.reader.read(line) else { return };
        if row.number() != Some(self.number) {
            return;
        }
        let agency = AgencyId::new(row.agency).filter(|known| known.get() <= self.agencies_amount);
        if let Some(agency) = agency {
            self.documents.entry(agency).or_default().push(row.document().to_owned());
        }
    }

    /// The documents of the winners, by agency from 1, in the order of the agency's rows.
    #[must_use]
    pub fn into_documents(mut self) -> Vec<Vec<String>> {
        let all = AgencyId::all(self.agencies_amount);
        all.map(|agency| self.documents.remove(&agency).unwrap_or_default()).collect()
    }
}

/// Whether the last field of `line` is `digits`, perhaps behind zeros, or has quotes, which may
/// be anywhere in it, or more than one `\r` behind it. Decided by the last byte for most lines.
fn may_win(line: &[u8], digits: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.last() {
        Some(b'"' | b'\r') => true,
        last if last == digits.last() => {
            let field = line.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            let zeros = field.strip_suffix(digits);
            zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == b'0'))
                || field.contains(&b'"')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winners(number: u16, lines: &str) -> Vec<Vec<String>> {
        let mut winners = Winners::new(BetNumber::new(number).unwrap(), 2);
        winners.take(lines.as_bytes());
        winners.into_documents()
    }

    #[test]
    fn finds_every_form_of_a_winning_row_and_no_other() {
        let rows = "1,A,B,11,2000-01-01,7574\r\n\
                    1,A,B,7574,2000-01-01,75\n\
                    2,7574,B,12,2000-01-01,757\n\
                    2,\"A, 7574\",B,13,2000-01-01,\"7574\"\n\
                    1,A,B,14,2000-01-01,07574\n\
                    3,A,B,15,2000-01-01,7574\n\
                    1,A,B,16,2000-01-01,17574\n\
                    1,A,B,17,2000-01-01,75740\n\
                    1,A,7574\n\
                    1,A,B,18,2000-01-01,7574\n";
        assert_eq!(winners(7574, rows), [vec!["11", "14", "18"], vec!["13"]]);
        let odd =
            "2,A,B,19,2000-01-01,\"75\"74\n2,A,B,20,2000-01-01,\"75,74\"\n2,A,B,21,2000-01-01,";
        assert_eq!(winners(7574, odd), [vec![], vec!["19"]]);
        assert_eq!(winners(75, rows), [vec!["7574"], vec![]]);
        assert_eq!(winners(1, rows), [Vec::<String>::new(), vec![]]);
        assert_eq!(winners(1, ""), [Vec::<String>::new(), vec![]]);
    }
}
