//! The bets of a packet: checked where they stand, and turned into rows without a value between.
//!
//! A packet's bets are most of what a server reads. They stay the text that came in; what is kept
//! beside it is their count and whether their rows are that text with other separators.

use memchr::{memchr, memchr_iter, memchr2, memchr2_iter};

use crate::bet::{Bet, Field, NameBytes};
use crate::malformed::RequestError;
use crate::row::write_row;
use crate::values::{AgencyId, decimal};

/// What a row has beside its bet's bytes at most: the agency, five separators, `\n`. The bet has
/// separators of its own, which are counted twice.
const ROW_EXTRA_BYTES_MAX: usize = 6 + 5 + 1;

/// One or more valid bets of one agency, as they stand on the wire:
/// `first;last;document;birthdate;number`, a `:` between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireBets<'a> {
    text: &'a str,
    count: usize,
    /// Whether no name needs quotes in a row and no number has a leading zero.
    is_plain: bool,
}

impl<'a> WireBets<'a> {
    /// Reads bets as they stand on the wire.
    ///
    /// # Errors
    /// The first bet that has not five fields, or a field that breaks its rule.
    pub fn parse(text: &'a str) -> Result<Self, RequestError> {
        let bytes = text.as_bytes();
        let names = NameBytes::of(text);
        let mut is_plain = memchr2(b',', b'"', bytes).is_none();
        let (mut count, mut field, mut start) = (0, 0, 0);
        let mut fields = [""; Field::ALL.len()];
        for end in memchr2_iter(b';', b':', bytes).chain([bytes.len()]) {
            if let Some(place) = fields.get_mut(field) {
                *place = text.get(start..end).unwrap_or_default();
            }
            (field, start) = (field + 1, end + 1);
            if bytes.get(end) == Some(&b';') {
                continue;
            }
            count += 1;
            if field != fields.len() {
                return Err(RequestError::Fields { bet: count, fields: field });
            }
            let bet = Bet::with_names(fields, names).map_err(|e| RequestError::Bet {
                bet: count,
                field: e.field,
                allowed: e.allowed,
            })?;
            is_plain &= bet.number().digits() == fields[4].len();
            field = 0;
        }
        Ok(Self { text, count, is_plain })
    }

    /// Reads exactly one bet.
    ///
    /// # Errors
    /// As [`WireBets::parse`]; and [`RequestError::Bets`] if there are more.
    pub(crate) fn parse_one(text: &'a str) -> Result<Self, RequestError> {
        let bets = Self::parse(text)?;
        match memchr(b':', text.as_bytes()) {
            None => Ok(bets),
            Some(_) => Err(RequestError::Bets { bets: bets.count }),
        }
    }

    /// The bets as they stand on the wire.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How many bets they are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether their rows are this text with other separators: no name needs quotes there, and no
    /// number has a leading zero.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The first bet.
    ///
    /// # Panics
    /// Never: they have been read once.
    #[must_use]
    pub fn first(&self) -> Bet<'a> {
        self.iter().next().expect("there is at least one bet")
    }

    /// The bets, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Bet<'a>> + use<'a> {
        self.texts().filter_map(|text| {
            let mut fields = text.split(';');
            let fields = std::array::from_fn(|_| fields.next().unwrap_or_default());
            Bet::new(fields).ok()
        })
    }

    /// The bets as they stand on the wire, in their order.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (text, mut start) = (self.text, 0);
        memchr_iter(b':', text.as_bytes()).chain([text.len()]).map(move |end| {
            let bet = text.get(start..end).unwrap_or_default();
            start = end + 1;
            bet
        })
    }

    /// No more bytes than this are taken by the rows of these bets.
    #[must_use]
    pub fn rows_bytes_max(&self) -> usize {
        let text = if self.is_plain { self.text.len() } else { 2 * self.text.len() };
        text + self.count * ROW_EXTRA_BYTES_MAX
    }

    /// Appends the bets as rows of `agency`, each with its `\n`.
    pub fn write_rows(&self, agency: AgencyId, out: &mut Vec<u8>) {
        if !self.is_plain {
            self.iter().for_each(|bet| write_row(agency, &bet, out));
            return;
        }
        let mut digits = [0; 10];
        let agency = decimal(agency.get(), &mut digits);
        let start = out.len();
        for bet in self.texts() {
            out.extend_from_slice(agency);
            out.push(b';');
            out.extend_from_slice(bet.as_bytes());
            out.push(b'\n');
        }
        let rows = out.get_mut(start..).unwrap_or_default();
        rows.iter_mut().for_each(|byte| *byte = if *byte == b';' { b',' } else { *byte });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANA: &str = "Ana;Paz;1;2000-01-01;7";

    fn agency() -> AgencyId {
        AgencyId::new(crate::limits::AGENCIES_MAX).unwrap()
    }

    fn rows(bets: &WireBets<'_>) -> String {
        let mut out = Vec::new();
        bets.write_rows(agency(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn says_which_bet_is_wrong_and_how() {
        let bet = |bet, field, allowed| RequestError::Bet { bet, field, allowed };
        let fields = |bet, fields| RequestError::Fields { bet, fields };
        for (second, error) in [
            ("", fields(2, 1)),
            ("Ana;Paz;1;2000-01-01", fields(2, 4)),
            ("Ana;Paz;1;2000-01-01;7;8", fields(2, 6)),
            (
                ";Paz;1;2000-01-01;7",
                bet(2, Field::FirstName, "1 to 100 bytes without control characters, ';' or ':'"),
            ),
            (
                "A\tna;Paz;1;2000-01-01;7",
                bet(2, Field::FirstName, "1 to 100 bytes without control characters, ';' or ':'"),
            ),
            (
                "Ana;P\u{85}z;1;2000-01-01;7",
                bet(2, Field::LastName, "1 to 100 bytes without control characters, ';' or ':'"),
            ),
            ("Ana;Paz;1;2000-02-30;7", bet(2, Field::Birthdate, "a calendar date YYYY-MM-DD")),
            ("Ana;Paz;1;2000-01-01;", bet(2, Field::Number, "0 to 9999 in plain digits")),
        ] {
            assert_eq!(WireBets::parse(&format!("{ANA}:{second}")), Err(error), "{second}");
        }
        assert_eq!(
            WireBets::parse_one(&format!("{ANA}:{ANA}")),
            Err(RequestError::Bets { bets: 2 })
        );
    }

    #[test]
    fn rows_are_quoted_where_needed_and_numbers_lose_their_zeros() {
        for (bet, row) in [
            (ANA, "100000,Ana,Paz,1,2000-01-01,7\n"),
            ("Ana, B;Paz;1;2000-01-01;0", "100000,\"Ana, B\",Paz,1,2000-01-01,0\n"),
            ("\"A\";Paz;1;2000-01-01;7", "100000,\"\"\"A\"\"\",Paz,1,2000-01-01,7\n"),
            ("Iñaki;Ñ º;1;2000-01-01;007", "100000,Iñaki,Ñ º,1,2000-01-01,7\n"),
        ] {
            let text = format!("{bet}:{ANA}:{bet}");
            let bets = WireBets::parse(&text).unwrap();
            assert_eq!(rows(&bets), format!("{row}100000,Ana,Paz,1,2000-01-01,7\n{row}"));
            assert_eq!(bets.len(), 3);
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_rows_are_one(
            names in proptest::collection::vec("[^;:\\pC]{1,25}|[,\"]{1,9}|[a-zA-Z ]{1,20}", 2..12),
            number in "0{0,3}[0-9]{1,3}",
        ) {
            let text: Vec<_> = names.windows(2)
                .map(|pair| format!("{};{};A1;2000-01-01;{number}", pair[0], pair[1])).collect();
            let text = text.join(":");
            let bets = WireBets::parse(&text).unwrap();
            let mut one_by_one = Vec::new();
            bets.iter().for_each(|bet| write_row(agency(), &bet, &mut one_by_one));
            prop_assert_eq!(bets.iter().count(), bets.len());
            prop_assert!(one_by_one.len() <= bets.rows_bytes_max());
            prop_assert_eq!(rows(&bets).into_bytes(), one_by_one);
        }
    }
}
