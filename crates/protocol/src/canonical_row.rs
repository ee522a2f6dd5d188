//! A row that needs no more than one window to be looked at, as most do.

use std::ops::Range;

use crate::limits::WINDOW_BYTES;
use crate::window::{Window, below, equal, mask, places_of};

/// The most digits in which a row's agency may be written.
pub(crate) const AGENCY_DIGITS_MAX: usize = 10;

/// A row that is the wire's form with other separators, as most are, and not longer than a window.
pub(crate) struct PlainRow {
    pub(crate) agency: u32,
    /// Where what the wire has of it stands.
    pub(crate) wire: Range<usize>,
    /// Where the line's `\n` is, or would be.
    pub(crate) line_end: usize,
}

impl PlainRow {
    /// The row that `window` starts with; `None` says only that it is not plain.
    pub(crate) fn of(window: &Window) -> Option<Self> {
        let line_end = mask(window, |bytes| equal(bytes, b'\n')).trailing_zeros() as usize;
        let line = window.get(..line_end).filter(|_| line_end < WINDOW_BYTES)?;
        let end = line_end - usize::from(line.ends_with(b"\r"));
        let commas = mask(window, |bytes| equal(bytes, b',')) & below(end);
        let quoting = mask(window, |bytes| equal(bytes, b'"') | equal(bytes, b'\r')) & below(end);
        let [first, .., last] = places_of::<5>(commas).filter(|_| quoting == 0)?;
        let has_zeros = end - last > 2 && window.get(last + 1) == Some(&b'0');
        let (agency, _) = split_agency(line).filter(|_| !has_zeros)?;
        Some(Self { agency, wire: first + 1..end, line_end })
    }
}

/// The agency's number, and what stands behind the comma after it.
pub(crate) fn split_agency(line: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0_u32;
    for (place, byte) in line.iter().enumerate().take(AGENCY_DIGITS_MAX + 1) {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?,
            b',' if place > 0 => return Some((number, line.get(place + 1..)?)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::window;

    #[test]
    fn most_rows_are_plain() {
        let is_plain = |line: &str| {
            PlainRow::of(window(line.as_bytes(), b'\n', &mut [0; WINDOW_BYTES])).is_some()
        };
        assert!(is_plain("3,Ana,Paz,1,2000-01-01,7") && is_plain("3,Ana,Paz,1,2000-01-01,0\r\n"));
        let row_of = |bytes: usize| format!("3,{},,,,7", "a".repeat(bytes - 7));
        assert!(is_plain(&row_of(63)) && !is_plain(&row_of(64)));
        for other in ["3,Ana,\"Paz\",1,2000-01-01,7", "3,Ana,Paz,1,2000-01-01,07", "3,Ana,7"] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
