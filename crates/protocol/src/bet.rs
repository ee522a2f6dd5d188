//! One bet: its fields, and each field's rule.

use std::fmt;

use crate::limits::{BIRTHDATE_BYTES, DOCUMENT_BYTES_MAX, NAME_BYTES_MAX};
use crate::values::{BetNumber, write_number};

/// A field of a bet, in the order of the wire and of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 1..=100 bytes without control characters, `;` or `:`.
    FirstName,
    /// As [`Field::FirstName`].
    LastName,
    /// 1..=20 ASCII letters and digits.
    Document,
    /// A calendar date, `YYYY-MM-DD`.
    Birthdate,
    /// 0..=9999.
    Number,
}

impl Field {
    /// All fields of a bet, in order.
    pub const ALL: [Self; 5] =
        [Self::FirstName, Self::LastName, Self::Document, Self::Birthdate, Self::Number];
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstName => "first name",
            Self::LastName => "last name",
            Self::Document => "document",
            Self::Birthdate => "birthdate",
            Self::Number => "number",
        })
    }
}

/// A field of a bet that breaks its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not {allowed}")]
pub struct InvalidField {
    /// The field.
    pub field: Field,
    /// What is allowed, as a phrase after "must be".
    pub allowed: &'static str,
}

/// One valid bet, borrowed from the text from which it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bet<'a> {
    first_name: &'a str,
    last_name: &'a str,
    document: &'a str,
    birthdate: &'a str,
    number: BetNumber,
}

impl<'a> Bet<'a> {
    /// A bet with these fields, in the order of [`Field::ALL`].
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn new(fields: [&'a str; 5]) -> Result<Self, InvalidField> {
        let [first_name, last_name, document, birthdate, number] = fields;
        check(Field::FirstName, is_name(first_name))?;
        check(Field::LastName, is_name(last_name))?;
        check(Field::Document, is_document(document))?;
        check(Field::Birthdate, is_birthdate(birthdate))?;
        let number = number.parse().map_err(|_| InvalidField::of(Field::Number))?;
        Ok(Self { first_name, last_name, document, birthdate, number })
    }

    /// The bettor's first name.
    #[must_use]
    pub fn first_name(&self) -> &'a str {
        self.first_name
    }

    /// The bettor's last name.
    #[must_use]
    pub fn last_name(&self) -> &'a str {
        self.last_name
    }

    /// The bettor's document.
    #[must_use]
    pub fn document(&self) -> &'a str {
        self.document
    }

    /// The bettor's birthdate, `YYYY-MM-DD`.
    #[must_use]
    pub fn birthdate(&self) -> &'a str {
        self.birthdate
    }

    /// The number that was bet on.
    #[must_use]
    pub fn number(&self) -> BetNumber {
        self.number
    }

    /// Appends the wire form: `first;last;document;birthdate;number`.
    pub fn write_wire(&self, out: &mut Vec<u8>) {
        for text in [self.first_name, self.last_name, self.document, self.birthdate] {
            out.extend_from_slice(text.as_bytes());
            out.push(b';');
        }
        write_number(self.number, out);
    }
}

impl InvalidField {
    pub(crate) fn of(field: Field) -> Self {
        let allowed = match field {
            Field::FirstName | Field::LastName => {
                "1 to 100 bytes without control characters, ';' or ':'"
            }
            Field::Document => "1 to 20 ASCII letters and digits",
            Field::Birthdate => "a calendar date YYYY-MM-DD",
            Field::Number => "0 to 9999 in plain digits",
        };
        Self { field, allowed }
    }
}

fn check(field: Field, holds: bool) -> Result<(), InvalidField> {
    if holds { Ok(()) } else { Err(InvalidField::of(field)) }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.chars().any(|c| c.is_control() || c == ';' || c == ':')
}

fn is_document(text: &str) -> bool {
    (1..=DOCUMENT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_birthdate(text: &str) -> bool {
    text.as_bytes().try_into().is_ok_and(is_calendar_date)
}

/// Year 0 is refused: the reference system's calendar starts with year 1.
pub(crate) fn is_calendar_date(text: &[u8; BIRTHDATE_BYTES]) -> bool {
    const DAYS: [u32; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return false };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2];
    // Without a branch for each digit, for the reason in `simd.rs`.
    if !digits.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) {
        return false;
    }
    let [y1, y2, y3, y4, m1, m2, d1, d2] = digits.map(|digit| u32::from(digit - b'0'));
    let (year, month, day) = (y1 * 1000 + y2 * 100 + y3 * 10 + y4, m1 * 10 + m2, d1 * 10 + d2);
    let days = DAYS.get(month as usize).copied().unwrap_or(0);
    let is_leap_day = || (month, day) == (2, 29) && is_leap(year);
    year > 0 && day > 0 && (day <= days || is_leap_day())
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for year in [0, 1, 4, 100, 400].into_iter().chain(1890..=2110).chain(9996..=9999) {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let text = format!("{year:04}-{month:02}-{day:02}");
                let date = chrono::NaiveDate::from_ymd_opt(year, month, day);
                assert_eq!(is_birthdate(&text), year > 0 && date.is_some(), "{text}");
            }
        }
    }

    #[test]
    fn the_field_that_breaks_its_rule_is_named() {
        let (long, longer) = ("ñ".repeat(50), "a".repeat(101));
        for (fields, wrong) in [
            (["a", "b", "1", "2000-02-29", "0"], None),
            ([&long, "O'Brien, \"Pat\"", "ABC12345678901234567", "0001-01-01", "9999"], None),
            (["=1+1", " ", "x", "9999-12-31", "00000000000000000075"], None),
            (["", "b", "1", "2000-01-01", "0"], Some(Field::FirstName)),
            ([&longer, "b", "1", "2000-01-01", "0"], Some(Field::FirstName)),
            (["a\u{85}", "b", "1", "2000-01-01", "0"], Some(Field::FirstName)),
            (["a", "b\r", "1", "2000-01-01", "0"], Some(Field::LastName)),
            (["a", "ñ;", "1", "2000-01-01", "0"], Some(Field::LastName)),
            (["a", "ñ:", "1", "2000-01-01", "0"], Some(Field::LastName)),
            (["a", "b", "", "2000-01-01", "0"], Some(Field::Document)),
            (["a", "b", "123456789012345678901", "2000-01-01", "0"], Some(Field::Document)),
            (["a", "b", "12-3", "2000-01-01", "0"], Some(Field::Document)),
            (["a", "b", "ñ", "2000-01-01", "0"], Some(Field::Document)),
            (["a", "b", "1", "1999-02-29", "0"], Some(Field::Birthdate)),
            (["a", "b", "1", "2000-1-01", "0"], Some(Field::Birthdate)),
            (["a", "b", "1", "2000/01/01", "0"], Some(Field::Birthdate)),
            (["a", "b", "1", "2000-01-01", ""], Some(Field::Number)),
            (["a", "b", "1", "2000-01-01", "7\r"], Some(Field::Number)),
            (["a", "b", "1", "2000-01-01", "+1"], Some(Field::Number)),
            (["a", "b", "1", "2000-01-01", "10000"], Some(Field::Number)),
            (["a", "b", "1", "2000-01-01", "000000000000000000001"], Some(Field::Number)),
        ] {
            assert_eq!(Bet::new(fields).err().map(|invalid| invalid.field), wrong, "{fields:?}");
        }
    }
}
