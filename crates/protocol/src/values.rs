//! The numbers of agencies and bets, as types whose values are valid.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::limits::{AGENCIES_MAX, NUMBER_DIGITS_MAX, NUMBER_MAX};

/// A text that is not a value of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {allowed}")]
pub struct InvalidValue {
    allowed: &'static str,
}

impl InvalidValue {
    pub(crate) const fn new(allowed: &'static str) -> Self {
        Self { allowed }
    }

    /// What is allowed, as a phrase after "not" or "must be".
    #[must_use]
    pub fn allowed(self) -> &'static str {
        self.allowed
    }
}

/// Reads 1 to `digits_max` ASCII digits, without sign or blank.
pub(crate) fn parse_digits(text: &str, digits_max: usize) -> Option<u64> {
    if text.is_empty() || text.len() > digits_max || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The number of an agency, 1..=[`AGENCIES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgencyId(NonZeroU32);

impl AgencyId {
    /// The agency with this number; `None` for 0 or more than [`AGENCIES_MAX`].
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).filter(|number| number.get() <= AGENCIES_MAX).map(Self)
    }

    /// The agency's number, 1..=[`AGENCIES_MAX`].
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The agency's place, from 0, among all agencies.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The agencies 1..=`amount`, in order.
    pub fn all(amount: u32) -> impl Iterator<Item = Self> {
        (1..=amount).filter_map(Self::new)
    }
}

impl FromStr for AgencyId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse_digits(text, 10)
            .and_then(|number| u32::try_from(number).ok())
            .and_then(Self::new)
            .ok_or(InvalidValue { allowed: "an agency number, 1 to 100000 in plain digits" })
    }
}

impl fmt::Display for AgencyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a bet, 0..=[`NUMBER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BetNumber(u16);

impl BetNumber {
    /// The bet number `number`; `None` beyond [`NUMBER_MAX`].
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number <= NUMBER_MAX).then_some(Self(number))
    }

    /// The number, 0..=[`NUMBER_MAX`].
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// How many digits it is written with.
    pub(crate) fn digits(self) -> usize {
        self.0.checked_ilog10().map_or(1, |log| log as usize + 1)
    }
}

impl FromStr for BetNumber {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse_digits(text, NUMBER_DIGITS_MAX)
            .and_then(|number| u16::try_from(number).ok())
            .and_then(Self::new)
            .ok_or(InvalidValue { allowed: "a number from 0 to 9999 in plain digits" })
    }
}

impl fmt::Display for BetNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends the decimal digits of `number`.
pub(crate) fn write_number(number: BetNumber, out: &mut Vec<u8>) {
    out.extend_from_slice(decimal(number.get().into(), &mut [0; 10]));
}

/// The digits of `number`, without leading zeros, at the end of `digits`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_without_leading_zeros() {
        for number in 0..=NUMBER_MAX {
            let mut out = Vec::new();
            write_number(BetNumber::new(number).unwrap(), &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
        assert_eq!(decimal(u32::MAX, &mut [0; 10]), b"4294967295");
    }

    #[test]
    fn agencies_are_1_to_the_maximum() {
        for (text, number) in [("1", Some(1)), ("100000", Some(100_000)), ("007", Some(7))] {
            assert_eq!(text.parse::<AgencyId>().ok().map(AgencyId::get), number, "{text}");
        }
        for text in ["0", "100001", "", "-1", "+1", " 1", "1 ", "4294967297", "a"] {
            assert!(text.parse::<AgencyId>().is_err(), "{text}");
        }
    }
}
