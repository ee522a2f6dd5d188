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
use crate::window::{Window, all, any, mask};

/// The most digits of a number without leading zeros.
const PLAIN_NUMBER_DIGITS_MAX: usize = 4;

const _: () = assert!(
    NUMBER_MAX as usize + 1 == 10_usize.pow(PLAIN_NUMBER_DIGITS_MAX as u32),
    "so many digits, whichever they are, are a number that can be bet on"
);
const _: () = assert!(WINDOW_BYTES <= NAME_BYTES_MAX, "no name within a window is too long");

/// The length of the bet that `window` starts with; `None` says only that it is not plain, or that
/// something near it is not.
pub(crate) fn plain_bet(window: &Window) -> Option<usize> {
    let ends = field_ends(window)?;
    let [first, last, document, birthdate, number] = ends;
    let are_names = first > 0 && last - first > 1 && !any(window, is_unusual);
    let is_document = all::<DOCUMENT_BYTES_MAX>(window, (last + 1, document), |byte| {
        byte.is_ascii_alphanumeric()
    });
    let is_plain = are_names
        && is_document
        && is_birthdate(window, (document + 1, birthdate))
        && is_number(window, (birthdate + 1, number));
    is_plain.then_some(number)
}

/// Where the five fields of the bet end.
fn field_ends(window: &Window) -> Option<[usize; 5]> {
    // But for their lowest bit, `:` and `;` are the same.
    let mut separators = mask(window, |byte| byte | 1 == b';');
    let ends = std::array::from_fn(|_| {
        let end = separators.trailing_zeros() as usize;
        separators &= separators.wrapping_sub(1);
        end
    });
    let found = ends.map(|end| window.get(end).copied());
    (found == [b';', b';', b';', b';', b':'].map(Some)).then_some(ends)
}

/// Whether a byte is not to be in a name, or only with quotes. The control characters beyond
/// ASCII, U+0080 to U+009F, all start with 0xc2.
fn is_unusual(byte: u8) -> bool {
    (byte < b' ') | (byte == 0x7f) | (byte == 0xc2) | (byte == b',') | (byte == b'"')
}

fn is_birthdate(window: &Window, (start, end): (usize, usize)) -> bool {
    let date = window.get(start..).and_then(<[u8]>::first_chunk);
    end - start == BIRTHDATE_BYTES && date.is_some_and(is_calendar_date)
}

fn is_number(window: &Window, (start, end): (usize, usize)) -> bool {
    let has_zeros = end - start > 1 && window.get(start) == Some(&b'0');
    !has_zeros && all::<PLAIN_NUMBER_DIGITS_MAX>(window, (start, end), |byte| byte.is_ascii_digit())
}
