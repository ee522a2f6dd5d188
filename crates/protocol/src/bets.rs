//! The bets of a packet: checked where they stand, and turned into rows without a value between.
//!
//! A packet's bets are most of what a server reads. They stay the text that came in; what is kept
//! beside it is their count and whether their rows are that text with other separators.

use memchr::{memchr, memchr_iter, memchr2};

use crate::bet::{Bet, Field};
use crate::limits::{AGENCIES_MAX, ROW_EXTRA_BYTES_MAX, WINDOW_BYTES};
use crate::malformed::RequestError;
use crate::plain::plain_bet;
use crate::row::write_row;
use crate::values::{AgencyId, decimal};
use crate::window::{Window, equal, mask, window};

/// How many bytes are copied where a row starts, with its agency and a comma.
const ROW_HEAD_BYTES: usize = 8;

const _: () =
    assert!(AGENCIES_MAX < 10_u32.pow(ROW_HEAD_BYTES as u32 - 1), "every agency and its comma fit");

/// One or more valid bets of one agency, as they stand on the wire:
/// `first;last;document;birthdate;number`, a `:` between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireBets<'a> {
    text: &'a str,
    count: usize,
    /// Whether no name needs quotes in a row and no number has a leading zero.
    is_plain: bool,
}

/// Valid bets that own their text, so that they outlive the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedBets {
    text: Box<str>,
    count: usize,
    is_plain: bool,
}

impl OwnedBets {
    /// The same bets, borrowed.
    #[must_use]
    pub fn as_wire(&self) -> WireBets<'_> {
        WireBets { text: &self.text, count: self.count, is_plain: self.is_plain }
    }
}

impl From<WireBets<'_>> for OwnedBets {
    fn from(bets: WireBets<'_>) -> Self {
        Self { text: bets.text.into(), count: bets.count, is_plain: bets.is_plain }
    }
}

impl<'a> WireBets<'a> {
    /// Reads bets as they stand on the wire.
    ///
    /// # Errors
    /// The first bet that has not five fields, or a field that breaks its rule.
    pub fn parse(text: &'a str) -> Result<Self, RequestError> {
        let mut bets = Self { text, count: 0, is_plain: true };
        let (mut start, mut spare) = (0, [0; WINDOW_BYTES]);
        while let Some(rest) = text.as_bytes().get(start..) {
            bets.count += 1;
            let len = plain_bet(window(rest, b':', &mut spare));
            start += 1 + len.map_or_else(|| bets.look_closer(start), Ok)?;
        }
        Ok(bets)
    }

    /// Reads the bet that starts at `start`, which may be anything; says how long it is.
    fn look_closer(&mut self, start: usize) -> Result<usize, RequestError> {
        let rest = self.text.get(start..).unwrap_or_default();
        let text = rest.split(':').next().unwrap_or_default();
        let count = memchr_iter(b';', text.as_bytes()).count() + 1;
        let fields = fields_of(text);
        if count != fields.len() {
            return Err(RequestError::Fields { bet: self.count, fields: count });
        }
        let bet = Bet::new(fields).map_err(|error| RequestError::Bet {
            bet: self.count,
            field: error.field,
            allowed: error.allowed,
        })?;
        self.is_plain &= bet.number().digits() == fields[4].len();
        self.is_plain &= memchr2(b',', b'"', text.as_bytes()).is_none();
        Ok(text.len())
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
        self.texts().filter_map(|text| Bet::new(fields_of(text)).ok())
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

    /// No more bytes than this are taken by the rows of these bets while they are written.
    #[must_use]
    pub fn rows_bytes_max(&self) -> usize {
        let text = if self.is_plain { self.text.len() } else { 2 * self.text.len() };
        text + self.count * ROW_EXTRA_BYTES_MAX + WINDOW_BYTES
    }

    /// Appends the bets as rows of `agency`, each with its `\n`.
    pub fn write_rows(&self, agency: AgencyId, out: &mut Vec<u8>) {
        if !self.is_plain {
            self.iter().for_each(|bet| write_row(agency, &bet, out));
            return;
        }
        let mut agency_digits = [0; 10];
        let agency = decimal(agency.get(), &mut agency_digits);
        let mut head = [b','; ROW_HEAD_BYTES];
        head.iter_mut().zip(agency).for_each(|(to, from)| *to = *from);
        let mut spare = [0; WINDOW_BYTES];
        let mut rest = Some(self.text.as_bytes());
        while let Some(bets) = rest {
            extend_by(&head, agency.len() + 1, out);
            rest = write_row_of(bets, &mut spare, out);
        }
    }
}

/// The first five fields of `text`.
fn fields_of(text: &str) -> [&str; Field::ALL.len()] {
    let mut fields = text.split(';');
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// Appends the first of `bets`, which are plain, as the rest of a row; gives the others.
fn write_row_of<'t>(mut bets: &'t [u8], spare: &mut Window, out: &mut Vec<u8>) -> Option<&'t [u8]> {
    loop {
        let window = window(bets, b':', spare);
        let len = mask(window, |bytes| equal(bytes, b':')).trailing_zeros() as usize;
        let mut row = *window;
        row.iter_mut().for_each(|byte| *byte = if *byte == b';' { b',' } else { *byte });
        extend_by(&row, len, out);
        if len < WINDOW_BYTES {
            out.push(b'\n');
            return bets.get(len + 1..);
        }
        bets = bets.get(len..)?;
    }
}

/// Appends the first `len` of `bytes`. All of them are copied, which is faster than so many.
fn extend_by<const N: usize>(bytes: &[u8; N], len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANA: &str = "Ana;Paz;1;2000-01-01;7";

    fn agency() -> AgencyId {
        AgencyId::new(AGENCIES_MAX).unwrap()
    }

    fn rows(bets: &WireBets<'_>) -> String {
        let mut out = Vec::new();
        bets.write_rows(agency(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Reads bets one by one; says how many there are, and whether all are plain.
    fn read_simply(text: &str) -> Result<(usize, bool), RequestError> {
        let mut is_plain = true;
        for (bet, text) in (1..).zip(text.split(':')) {
            let fields: Vec<&str> = text.split(';').collect();
            let Ok(five) = <[&str; 5]>::try_from(fields.as_slice()) else {
                return Err(RequestError::Fields { bet, fields: fields.len() });
            };
            let read = Bet::new(five).map_err(|error| RequestError::Bet {
                bet,
                field: error.field,
                allowed: error.allowed,
            })?;
            is_plain &= !text.contains([',', '"']) && read.number().to_string() == five[4];
        }
        Ok((text.split(':').count(), is_plain))
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
    fn bets_are_the_same_on_either_side_of_a_window() {
        for bytes in 55..=75 {
            let rest = ";Paz;1;2000-01-01;7";
            let bet = format!("{}{rest}", "a".repeat(bytes - rest.len()));
            for text in [bet.clone(), format!("{bet}:{ANA}"), format!("{ANA}:{bet}:{bet}")] {
                let found = WireBets::parse(&text).map(|bets| (bets.len(), bets.is_plain()));
                assert_eq!(found, read_simply(&text), "{text}");
            }
            let is_plain = plain_bet(window(bet.as_bytes(), b':', &mut [0; WINDOW_BYTES]));
            assert_eq!(is_plain, Some(bytes).filter(|bytes| *bytes < WINDOW_BYTES));
        }
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
            let mut out = Vec::with_capacity(bets.rows_bytes_max());
            let capacity = out.capacity();
            bets.write_rows(agency(), &mut out);
            prop_assert_eq!(out.capacity(), capacity);
            prop_assert_eq!(out, one_by_one);
        }

        #[test]
        fn bets_are_read_as_if_none_were_plain(
            bets in proptest::collection::vec(
                "([a-z]{1,45}|[ñº\u{85}]{1,9}|[a,\"\t]{1,4}|);([A-Z]{1,12}|ñ{50}|a{101}|);\
                 ([0-9]{7,8}|[a-zA-Z0-9]{0,21}|-|ñ);\
                 ([12][0-9]{3}-(0[1-9]|1[0-2])-[0-3][0-9]|2000-1-1);\
                 ([0-9]{0,5}|0{20}|0{21}|[:;x])",
                1..5,
            ),
            valid in 0..4_usize,
        ) {
            let text = [vec![ANA.to_owned(); valid], bets].concat().join(":");
            let found = WireBets::parse(&text).map(|bets| (bets.len(), bets.is_plain()));
            prop_assert_eq!(found, read_simply(&text), "{}", text);
        }
    }
}
