//! A few bytes looked at all at once, in the same steps whatever they are.
//!
//! How long the next name or number is cannot be foreseen, and a processor that guesses it wrong
//! loses more time than it takes to look at a whole bet. So nothing here branches on a byte: each
//! question is put to 16 bytes at once, and what comes of it is a bit for each.

use wide::u8x16;

use crate::limits::WINDOW_BYTES;

/// The bytes of a text from some place on.
pub(crate) type Window = [u8; WINDOW_BYTES];

/// Some bytes of a window, to be looked at together; and the answer about each: all its bits are
/// set, or none is.
pub(crate) type Lanes = u8x16;

const _: () = assert!(WINDOW_BYTES == u64::BITS as usize, "each byte has its bit");

/// The window at the start of `text`, with `end` behind its end. `spare` is lent for the case that
/// the text is shorter.
pub(crate) fn window<'t>(text: &'t [u8], end: u8, spare: &'t mut Window) -> &'t Window {
    if let Some(window) = text.first_chunk() {
        return window;
    }
    *spare = [end; WINDOW_BYTES];
    spare.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    spare
}

/// Which bytes of a window are so: bit k stands for byte k.
pub(crate) fn mask(window: &Window, is: impl Fn(Lanes) -> Lanes) -> u64 {
    let lanes = window.as_chunks::<{ Lanes::LANES as usize }>().0.iter().enumerate();
    lanes.fold(0, |mask, (nth, bytes)| {
        mask | u64::from(is(Lanes::new(*bytes)).to_bitmask()) << (bytes.len() * nth)
    })
}

/// Which bytes are `byte`.
pub(crate) fn equal(lanes: Lanes, byte: u8) -> Lanes {
    lanes.simd_eq(Lanes::splat(byte))
}

/// Which bytes are `first` to `last`.
pub(crate) fn within(lanes: Lanes, first: u8, last: u8) -> Lanes {
    let above = (lanes - Lanes::splat(first)).saturating_sub(Lanes::splat(last - first));
    equal(above, 0)
}

/// Where the `N` bytes are whose bits are set; `None` if they are more or fewer.
pub(crate) fn places_of<const N: usize>(mut mask: u64) -> Option<[usize; N]> {
    let mut is_enough = true;
    let places = std::array::from_fn(|_| {
        let place = mask.trailing_zeros() as usize;
        is_enough &= mask != 0;
        mask &= mask.wrapping_sub(1);
        place
    });
    (is_enough && mask == 0).then_some(places)
}

/// The bits of the places from `start` to before `end`, which are places of a window.
pub(crate) fn places(start: usize, end: usize) -> u64 {
    below(end) & !below(start)
}

/// The bits of the places before `end`, which is a place of a window.
pub(crate) fn below(end: usize) -> u64 {
    (1 << end) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_has_a_bit_for_each_byte(
            bytes: [u8; 32], more: [u8; 32], first: u8, last: u8, one: u8,
        ) {
            let (first, last) = (first.min(last), first.max(last));
            let window: Window = [bytes, more].concat().try_into().unwrap();
            let found = mask(&window, |bytes| within(bytes, first, last));
            let equals = mask(&window, |bytes| equal(bytes, one));
            for (place, byte) in window.iter().enumerate() {
                prop_assert_eq!(found >> place & 1 == 1, (first..=last).contains(byte));
                prop_assert_eq!(equals >> place & 1 == 1, *byte == one);
            }
        }

        #[test]
        fn places_are_found_if_they_are_so_many(mask: u64) {
            let set: Vec<_> = (0..64).filter(|place| mask >> place & 1 == 1).collect();
            prop_assert!(places_of::<3>(mask).is_none_or(|found| found[..] == set));
            let three = set.iter().take(3).fold(0, |three, place| three | 1 << place);
            let found = places_of::<3>(three).map(|found| found.to_vec());
            prop_assert_eq!(found, (set.len() >= 3).then(|| set[..3].to_vec()));
        }
    }

    #[test]
    fn places_are_those_from_start_to_before_end() {
        for (start, end, wanted) in [(0, 0, 0), (0, 3, 0b111), (2, 3, 0b100), (62, 63, 1 << 62)] {
            assert_eq!(places(start, end), wanted);
        }
        assert_eq!(places_of(1 << 63 | 1), Some([0, 63]));
    }

    #[test]
    fn the_end_stands_behind_a_short_text() {
        for len in 0..=WINDOW_BYTES + 1 {
            let text = "a".repeat(len);
            let wanted = format!("{text}{}", ":".repeat(WINDOW_BYTES));
            let found = window(text.as_bytes(), b':', &mut [b'x'; WINDOW_BYTES]).to_vec();
            assert_eq!(found, wanted.as_bytes()[..WINDOW_BYTES]);
        }
    }
}
