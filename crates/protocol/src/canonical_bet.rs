//! The fast path of reading bets: recognises a canonical bet in one chunk, as most bets are. Never
//! decides that a bet is invalid.
//!
//! **Invariant**: a canonical bet is valid, its names need no quotes in a row, and its number has
//! no leading zero.

use crate::bet::is_calendar_date;
use crate::limits::{BIRTHDATE_BYTES, CHUNK_BYTES, DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, NUMBER_MAX};
use crate::simd::{Chunk, Lanes, bits_below, bits_between, equal, in_range, mask, set_bits};

/// The most digits of a number without leading zeros.
const CANONICAL_NUMBER_DIGITS_MAX: usize = 4;

const _: () = assert!(
    NUMBER_MAX as usize + 1 == 10_usize.pow(CANONICAL_NUMBER_DIGITS_MAX as u32),
    "any number of so many digits can be bet on"
);
const _: () = assert!(CHUNK_BYTES <= NAME_BYTES_MAX, "a name in a chunk is never too long");

/// The length of the bet at the start of `chunk`; `None` if it is not canonical, or longer than the
/// chunk.
pub(crate) fn canonical_bet_len(chunk: &Chunk) -> Option<usize> {
    let [first, last, document, birthdate, number] = field_ends(chunk)?;
    let are_names =
        first > 0 && last - first > 1 && mask(chunk, is_not_canonical) & bits_below(last) == 0;
    let is_canonical = are_names
        && is_document(chunk, last + 1, document)
        && is_birthdate(chunk, document + 1, birthdate)
        && is_number(chunk, birthdate + 1, number);
    is_canonical.then_some(number)
}

/// The ends of the bet's five fields.
fn field_ends(chunk: &Chunk) -> Option<[usize; 5]> {
    let end = mask(chunk, |bytes| equal(bytes, b':')).trailing_zeros() as usize;
    if end == CHUNK_BYTES {
        return None;
    }
    let separators = mask(chunk, |bytes| equal(bytes, b';')) & bits_below(end);
    let [first, last, document, birthdate] = set_bits(separators)?;
    Some([first, last, document, birthdate, end])
}

/// Which bytes may not be in a canonical name: control characters, and what needs quotes. The
/// control characters beyond ASCII, U+0080 to U+009F, all start with 0xc2.
fn is_not_canonical(bytes: Lanes) -> Lanes {
    let is_control = in_range(bytes, 0, b' ' - 1) | equal(bytes, 0x7f) | equal(bytes, 0xc2);
    is_control | equal(bytes, b',') | equal(bytes, b'"')
}

fn is_document(chunk: &Chunk, start: usize, end: usize) -> bool {
    /// The bit in which an upper-case letter differs from a lower-case one.
    const CASE: u8 = b'a' ^ b'A';
    let is_alphanumeric = mask(chunk, |bytes| {
        in_range(bytes, b'0', b'9') | in_range(bytes | Lanes::splat(CASE), b'a', b'z')
    });
    (1..=DOCUMENT_BYTES_MAX).contains(&(end - start))
        && bits_between(start, end) & !is_alphanumeric == 0
}

fn is_birthdate(chunk: &Chunk, start: usize, end: usize) -> bool {
    let date = chunk.get(start..).and_then(<[u8]>::first_chunk);
    end - start == BIRTHDATE_BYTES && date.is_some_and(is_calendar_date)
}

fn is_number(chunk: &Chunk, start: usize, end: usize) -> bool {
    let is_digit = mask(chunk, |bytes| in_range(bytes, b'0', b'9'));
    let digits = end - start;
    (1..=CANONICAL_NUMBER_DIGITS_MAX).contains(&digits)
        && bits_between(start, end) & !is_digit == 0
        && (digits == 1 || chunk.get(start) != Some(&b'0'))
}
