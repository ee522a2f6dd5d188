//! The bets of a packet: checked in place, and written as rows without a value for each bet.
//!
//! Bets are most of what a server reads. They stay the received text; only their count is kept
//! beside it, and whether they are canonical, because then their rows are that text with other
//! separators.

use memchr::{memchr, memchr_iter, memchr2};

use crate::bet::{Bet, Field};
use crate::body_error::BodyError;
use crate::canonical_bet::canonical_bet_len;
use crate::limits::{AGENCIES_MAX, CHUNK_BYTES, ROW_EXTRA_BYTES_MAX};
use crate::row::write_row;
use crate::simd::{Chunk, chunk_at_start, equal, mask};
use crate::values::{AgencyId, decimal};

/// How many bytes are copied for a row's agency and the comma after it.
const ROW_HEAD_BYTES: usize = 8;

const _: () =
    assert!(AGENCIES_MAX < 10_u32.pow(ROW_HEAD_BYTES as u32 - 1), "every agency and its comma fit");

/// One or more valid bets of one agency in the wire form, `first;last;document;birthdate;number`,
/// with `:` between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireBets<'a> {
    text: &'a str,
    count: usize,
    /// See [`WireBets::is_canonical`].
    is_canonical: bool,
}

/// Valid bets that own their text, so that they outlive the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedBets {
    text: Box<str>,
    count: usize,
    is_canonical: bool,
}

impl OwnedBets {
    /// The same bets, borrowed.
    #[must_use]
    pub fn as_wire(&self) -> WireBets<'_> {
        WireBets { text: &self.text, count: self.count, is_canonical: self.is_canonical }
    }
}

impl From<WireBets<'_>> for OwnedBets {
    fn from(bets: WireBets<'_>) -> Self {
        Self { text: bets.text.into(), count: bets.count, is_canonical: bets.is_canonical }
    }
}

impl<'a> WireBets<'a> {
    /// Reads bets in the wire form.
    ///
    /// # Errors
    /// The first bet that does not have five fields, or that has a field which breaks its rule.
    pub fn parse(text: &'a str) -> Result<Self, BodyError> {
        let mut bets = Self { text, count: 0, is_canonical: true };
        let (mut start, mut spare) = (0, [0; CHUNK_BYTES]);
        while let Some(rest) = text.as_bytes().get(start..) {
            bets.count += 1;
            let len = canonical_bet_len(chunk_at_start(rest, b':', &mut spare));
            start += 1 + len.map_or_else(|| bets.parse_bet(start), Ok)?;
        }
        Ok(bets)
    }

    /// Reads any bet, at `start`, and returns its length.
    fn parse_bet(&mut self, start: usize) -> Result<usize, BodyError> {
        let rest = self.text.get(start..).unwrap_or_default();
        let text = rest.split(':').next().unwrap_or_default();
        let count = memchr_iter(b';', text.as_bytes()).count() + 1;
        let fields = fields_of(text);
        if count != fields.len() {
            return Err(BodyError::Fields { bet: self.count, fields: count });
        }
        let bet = Bet::new(fields).map_err(|error| BodyError::Bet {
            bet: self.count,
            field: error.field,
            allowed: error.allowed,
        })?;
        self.is_canonical &= bet.number().digits() == fields[4].len();
        self.is_canonical &= memchr2(b',', b'"', text.as_bytes()).is_none();
        Ok(text.len())
    }

    /// Reads exactly one bet.
    ///
    /// # Errors
    /// As [`WireBets::parse`]; and [`BodyError::Bets`] if there are more.
    pub(crate) fn parse_one(text: &'a str) -> Result<Self, BodyError> {
        let bets = Self::parse(text)?;
        match memchr(b':', text.as_bytes()) {
            None => Ok(bets),
            Some(_) => Err(BodyError::Bets { bets: bets.count }),
        }
    }

    /// The bets in the wire form.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The number of bets, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no name needs quotes in a row and no number has a leading zero. Then the rows are
    /// this text with other separators.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    /// The first bet.
    ///
    /// # Panics
    /// Never: the bets have been checked.
    #[must_use]
    pub fn first(&self) -> Bet<'a> {
        self.iter().next().expect("there is at least one bet")
    }

    /// The bets, in order.
    pub fn iter(&self) -> impl Iterator<Item = Bet<'a>> + use<'a> {
        self.texts().filter_map(|text| Bet::new(fields_of(text)).ok())
    }

    /// Each bet in the wire form, in order.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (text, mut start) = (self.text, 0);
        memchr_iter(b':', text.as_bytes()).chain([text.len()]).map(move |end| {
            let bet = text.get(start..end).unwrap_or_default();
            start = end + 1;
            bet
        })
    }

    /// The most bytes that [`WireBets::write_rows`] uses while it writes.
    #[must_use]
    pub fn rows_bytes_max(&self) -> usize {
        let text = if self.is_canonical { self.text.len() } else { 2 * self.text.len() };
        text + self.count * ROW_EXTRA_BYTES_MAX + CHUNK_BYTES
    }

    /// Appends the bets as rows of `agency`, each with its `\n`.
    pub fn write_rows(&self, agency: AgencyId, out: &mut Vec<u8>) {
        if !self.is_canonical {
            self.iter().for_each(|bet| write_row(agency, &bet, out));
            return;
        }
        let mut agency_digits = [0; 10];
        let agency = decimal(agency.get(), &mut agency_digits);
        let mut head = [b','; ROW_HEAD_BYTES];
        head.iter_mut().zip(agency).for_each(|(to, from)| *to = *from);
        let mut spare = [0; CHUNK_BYTES];
        let mut rest = Some(self.text.as_bytes());
        while let Some(bets) = rest {
            extend_by(&head, agency.len() + 1, out);
            rest = write_row_of(bets, &mut spare, out);
        }
    }
}

/// The first five fields of `text`; missing ones are empty.
fn fields_of(text: &str) -> [&str; Field::ALL.len()] {
    let mut fields = text.split(';');
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// Appends the first of `bets`, which are canonical, as the rest of a row. Returns the other bets.
fn write_row_of<'t>(mut bets: &'t [u8], spare: &mut Chunk, out: &mut Vec<u8>) -> Option<&'t [u8]> {
    loop {
        let chunk = chunk_at_start(bets, b':', spare);
        let len = mask(chunk, |bytes| equal(bytes, b':')).trailing_zeros() as usize;
        let mut row = *chunk;
        row.iter_mut().for_each(|byte| *byte = if *byte == b';' { b',' } else { *byte });
        extend_by(&row, len, out);
        if len < CHUNK_BYTES {
            out.push(b'\n');
            return bets.get(len + 1..);
        }
        bets = bets.get(len..)?;
    }
}

/// Appends the first `len` of `bytes`. Copies all `N` bytes, because a copy of fixed length is
/// faster.
fn extend_by<const N: usize>(bytes: &[u8; N], len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(bytes);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "Ana;Paz;1;2000-01-01;7";

    #[test]
    fn bets_are_the_same_on_either_side_of_a_window() {
        for bytes in 55..=75 {
            let rest = ";Paz;1;2000-01-01;7";
            let bet = format!("{}{rest}", "a".repeat(bytes - rest.len()));
            for text in [bet.clone(), format!("{bet}:{ANA}"), format!("{ANA}:{bet}:{bet}")] {
                let bets = WireBets::parse(&text).unwrap();
                assert!(bets.is_canonical() && bets.texts().eq(text.split(':')), "{text}");
            }
            let is_canonical =
                canonical_bet_len(chunk_at_start(bet.as_bytes(), b':', &mut [0; CHUNK_BYTES]));
            assert_eq!(is_canonical, Some(bytes).filter(|bytes| *bytes < CHUNK_BYTES));
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
            let mut rows = Vec::new();
            bets.write_rows(AgencyId::new(AGENCIES_MAX).unwrap(), &mut rows);
            let wanted = format!("{row}100000,Ana,Paz,1,2000-01-01,7\n{row}");
            assert_eq!((String::from_utf8(rows).unwrap(), bets.len()), (wanted, 3));
        }
    }
}
