//! The fast path of reading rows: recognises a canonical row in one chunk, as most rows are.
//! Never decides that a row is damaged.

use std::ops::Range;

use crate::limits::CHUNK_BYTES;
use crate::simd::{Chunk, bits_below, equal, mask, set_bits};

/// The most digits of a row's agency.
pub(crate) const AGENCY_DIGITS_MAX: usize = 10;

/// A row without quotes and leading zeros that fits a chunk.
pub(crate) struct CanonicalRow {
    pub(crate) agency: u32,
    /// The range of the bet, whose wire form differs in its separators only.
    pub(crate) wire: Range<usize>,
    /// The index of the line's `\n`, or the line's length.
    pub(crate) line_end: usize,
}

impl CanonicalRow {
    /// The row at the start of `chunk`; `None` if it is not canonical, or longer than the chunk.
    pub(crate) fn of(chunk: &Chunk) -> Option<Self> {
        let line_end = mask(chunk, |bytes| equal(bytes, b'\n')).trailing_zeros() as usize;
        let line = chunk.get(..line_end).filter(|_| line_end < CHUNK_BYTES)?;
        let end = line_end - usize::from(line.ends_with(b"\r"));
        let commas = mask(chunk, |bytes| equal(bytes, b',')) & bits_below(end);
        let quotes =
            mask(chunk, |bytes| equal(bytes, b'"') | equal(bytes, b'\r')) & bits_below(end);
        let [first, .., last] = set_bits::<5>(commas).filter(|_| quotes == 0)?;
        let has_zeros = end - last > 2 && chunk.get(last + 1) == Some(&b'0');
        let (agency, _) = split_agency(line).filter(|_| !has_zeros)?;
        Some(Self { agency, wire: first + 1..end, line_end })
    }
}

/// The agency's number, and the rest of the line after its comma.
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
