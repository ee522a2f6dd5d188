//! Bets that are plain, as most are: valid, no longer than a window, and rows as they stand.
//!
//! What is asked here never decides that a bet is wrong: it is plain, or it needs a closer look.
//!
//! **Invariant**: a plain bet is a valid one, its names need no quotes in a row, and its number has
//! no leading zero.

use crate::bet::is_calendar_date;
use crate::limits::{
    BIRTHDATE_BYTES, DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, NUMBER_MAX, WINDOW_BYTES,
};
use crate::window::{Lanes, Window, below, equal, mask, places, places_of, within};

/// The most digits of a number without leading zeros.
const PLAIN_NUMBER_DIGITS_MAX: usize = 4;

const _: () = assert!(
    NUMBER_MAX as usize + 1 == 10_usize.pow(PLAIN_NUMBER_DIGITS_MAX as u32),
    "so many digits, whichever they are, are a number that can be bet on"
);
const _: () = assert!(WINDOW_BYTES <= NAME_BYTES_MAX, "no name within a window is too long");

/// The length of the bet that `window` starts with; `None` says only that it is not plain, or
/// longer than a window.
pub(crate) fn plain_bet(window: &Window) -> Option<usize> {
    let [first, last, document, birthdate, number] = field_ends(window)?;
    let are_names = first > 0 && last - first > 1 && mask(window, is_unusual) & below(last) == 0;
    let is_plain = are_names
        && is_document(window, last + 1, document)
        && is_birthdate(window, document + 1, birthdate)
        && is_number(window, birthdate + 1, number);
    is_plain.then_some(number)
}

/// Where the five fields of the bet end.
fn field_ends(window: &Window) -> Option<[usize; 5]> {
    let end = mask(window, |bytes| equal(bytes, b':')).trailing_zeros() as usize;
    if end == WINDOW_BYTES {
        return None;
    }
    let separators = mask(window, |bytes| equal(bytes, b';')) & below(end);
    let [first, last, document, birthdate] = places_of(separators)?;
    Some([first, last, document, birthdate, end])
}

/// Whether a byte is not to be in a name, or only with quotes. The control characters beyond
/// ASCII, U+0080 to U+009F, all start with 0xc2.
fn is_unusual(bytes: Lanes) -> Lanes {
    let is_control = within(bytes, 0, b' ' - 1) | equal(bytes, 0x7f) | equal(bytes, 0xc2);
    is_control | equal(bytes, b',') | equal(bytes, b'"')
}

fn is_document(window: &Window, start: usize, end: usize) -> bool {
    /// The bit in which an upper-case letter differs from a lower-case one.
    const CASE: u8 = b'a' ^ b'A';
    let is_alphanumeric = mask(window, |bytes| {
        within(bytes, b'0', b'9') | within(bytes | Lanes::splat(CASE), b'a', b'z')
    });
    (1..=DOCUMENT_BYTES_MAX).contains(&(end - start)) && places(start, end) & !is_alphanumeric == 0
}

fn is_birthdate(window: &Window, start: usize, end: usize) -> bool {
    let date = window.get(start..).and_then(<[u8]>::first_chunk);
    end - start == BIRTHDATE_BYTES && date.is_some_and(is_calendar_date)
}

fn is_number(window: &Window, start: usize, end: usize) -> bool {
    let is_digit = mask(window, |bytes| within(bytes, b'0', b'9'));
    let digits = end - start;
    (1..=PLAIN_NUMBER_DIGITS_MAX).contains(&digits)
        && places(start, end) & !is_digit == 0
        && (digits == 1 || window.get(start) != Some(&b'0'))
}
