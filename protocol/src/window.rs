//! A few bytes looked at all at once, in the same steps whatever they are.
//!
//! How long the next name or number is cannot be foreseen, and a processor that guesses it wrong
//! loses more time than it takes to look at a whole bet. So nothing here branches on a byte:
//! compilers make of each loop a few instructions for 16 bytes or more.

use crate::limits::WINDOW_BYTES;

/// The bytes of a text from some place on, with `:` behind its end.
pub(crate) type Window = [u8; WINDOW_BYTES];

/// The window at the start of `text`. `spare` is lent for the case that the text is shorter.
pub(crate) fn window<'t>(text: &'t [u8], spare: &'t mut Window) -> &'t Window {
    if let Some(window) = text.first_chunk() {
        return window;
    }
    *spare = [b':'; WINDOW_BYTES];
    spare.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    spare
}

/// Which bytes of a window are so: bit k stands for byte k.
pub(crate) fn mask(window: &Window, is: impl Fn(u8) -> bool) -> u64 {
    /// Multiplied with this, the lowest bits of eight bytes come to stand side by side on top.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    const { assert!(WINDOW_BYTES == u64::BITS as usize, "each byte has its bit") };
    let mut flags = *window;
    flags.iter_mut().for_each(|byte| *byte = u8::from(is(*byte)));
    let eights = flags.as_chunks().0.iter().enumerate();
    eights.fold(0, |mask, (nth, flags)| {
        mask | (u64::from_le_bytes(*flags).wrapping_mul(GATHER) >> 56) << (8 * nth)
    })
}

/// Whether any of the bytes is so.
pub(crate) fn any<const N: usize>(bytes: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |any, byte| any | is(*byte))
}

/// Whether `bytes` from `start` to `end` are 1 to `N`, and all of them are so. `N` bytes from
/// `start` on are looked at in any case; where there are not so many, the answer is no.
pub(crate) fn all<const N: usize>(
    bytes: &[u8],
    (start, end): (usize, usize),
    is: impl Fn(u8) -> bool,
) -> bool {
    let Some(field) = bytes.get(start..).and_then(<[u8]>::first_chunk::<N>) else { return false };
    let len = end.saturating_sub(start);
    let places = field.iter().enumerate();
    (1..=N).contains(&len)
        && places.fold(true, |all, (place, byte)| all & (is(*byte) | (place as u8 >= len as u8)))
}

#[cfg(test)]
mod tests {
    use super::{any, *};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_has_a_bit_for_each_byte(bytes: [u8; 32], more: [u8; 32], least: u8) {
            let window: Window = [bytes, more].concat().try_into().unwrap();
            let found = mask(&window, |byte| byte >= least);
            for (place, byte) in window.iter().enumerate() {
                prop_assert_eq!(found >> place & 1 == 1, *byte >= least);
            }
            prop_assert_eq!(any(&window, |byte| byte >= least), found != 0);
        }

        #[test]
        fn all_are_those_of_the_range(bytes: [u8; 24], start in 0..24_usize, len in 0..24_usize) {
            let end = (start + len).min(24);
            let is = |byte: u8| byte < 200;
            let wanted = start + 8 <= 24
                && (1..=8).contains(&(end - start))
                && bytes[start..end].iter().all(|byte| is(*byte));
            prop_assert_eq!(all::<8>(&bytes, (start, end), is), wanted);
        }
    }

    #[test]
    fn colons_stand_behind_a_short_text() {
        for len in 0..=WINDOW_BYTES + 1 {
            let text = "a".repeat(len);
            let wanted = format!("{text}{}", ":".repeat(WINDOW_BYTES));
            let found = window(text.as_bytes(), &mut [b'x'; WINDOW_BYTES]).to_vec();
            assert_eq!(found, wanted.as_bytes()[..WINDOW_BYTES]);
        }
    }
}
