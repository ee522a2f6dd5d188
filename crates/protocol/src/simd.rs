//! SIMD over the first 64 bytes of a text, without branches that depend on the bytes.
//!
//! The length of the next name or number is unpredictable, and a mispredicted branch costs more
//! time than the whole check of a bet. So each question is asked about 16 bytes at once, and its
//! answer is a mask with one bit for each byte of the chunk.

use wide::u8x16;

use crate::limits::CHUNK_BYTES;

/// The first bytes of a text.
pub(crate) type Chunk = [u8; CHUNK_BYTES];

/// 16 bytes of a chunk, or the answer about each of them: all bits set for yes, none for no.
pub(crate) type Lanes = u8x16;

const _: () = assert!(CHUNK_BYTES == u64::BITS as usize, "a mask has one bit for each byte");

/// The chunk at the start of `text`. A shorter text is copied to `buffer` and filled up with
/// `padding`.
pub(crate) fn chunk_at_start<'t>(text: &'t [u8], padding: u8, buffer: &'t mut Chunk) -> &'t Chunk {
    if let Some(chunk) = text.first_chunk() {
        return chunk;
    }
    *buffer = [padding; CHUNK_BYTES];
    buffer.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    buffer
}

/// A mask of the bytes for which `is` answers yes: bit k is for byte k.
pub(crate) fn mask(chunk: &Chunk, is: impl Fn(Lanes) -> Lanes) -> u64 {
    let lanes = chunk.as_chunks::<{ Lanes::LANES as usize }>().0.iter().enumerate();
    lanes.fold(0, |mask, (nth, bytes)| {
        mask | u64::from(is(Lanes::new(*bytes)).to_bitmask()) << (bytes.len() * nth)
    })
}

/// Which bytes are `byte`.
pub(crate) fn equal(lanes: Lanes, byte: u8) -> Lanes {
    lanes.simd_eq(Lanes::splat(byte))
}

/// Which bytes are in `first..=last`.
pub(crate) fn in_range(lanes: Lanes, first: u8, last: u8) -> Lanes {
    let above = (lanes - Lanes::splat(first)).saturating_sub(Lanes::splat(last - first));
    equal(above, 0)
}

/// The indexes of the set bits; `None` if their number is not `N`.
pub(crate) fn set_bits<const N: usize>(mut mask: u64) -> Option<[usize; N]> {
    let mut is_enough = true;
    let indexes = std::array::from_fn(|_| {
        let index = mask.trailing_zeros() as usize;
        is_enough &= mask != 0;
        mask &= mask.wrapping_sub(1);
        index
    });
    (is_enough && mask == 0).then_some(indexes)
}

/// A mask of the indexes `start..end`; `end` is less than 64.
pub(crate) fn bits_between(start: usize, end: usize) -> u64 {
    bits_below(end) & !bits_below(start)
}

/// A mask of the indexes `..end`; `end` is less than 64.
pub(crate) fn bits_below(end: usize) -> u64 {
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
            let chunk: Chunk = [bytes, more].concat().try_into().unwrap();
            let found = mask(&chunk, |bytes| in_range(bytes, first, last));
            let equals = mask(&chunk, |bytes| equal(bytes, one));
            for (index, byte) in chunk.iter().enumerate() {
                prop_assert_eq!(found >> index & 1 == 1, (first..=last).contains(byte));
                prop_assert_eq!(equals >> index & 1 == 1, *byte == one);
            }
        }

        #[test]
        fn set_bits_are_found_if_their_number_is_right(mask: u64) {
            let set: Vec<_> = (0..64).filter(|index| mask >> index & 1 == 1).collect();
            prop_assert!(set_bits::<3>(mask).is_none_or(|found| found[..] == set));
            let three = set.iter().take(3).fold(0, |three, index| three | 1 << index);
            let found = set_bits::<3>(three).map(|found| found.to_vec());
            prop_assert_eq!(found, (set.len() >= 3).then(|| set[..3].to_vec()));
        }
    }

    #[test]
    fn bits_between_start_and_end_are_set() {
        for (start, end, wanted) in [(0, 0, 0), (0, 3, 0b111), (2, 3, 0b100), (62, 63, 1 << 62)] {
            assert_eq!(bits_between(start, end), wanted);
        }
        assert_eq!(set_bits(1 << 63 | 1), Some([0, 63]));
    }

    #[test]
    fn a_short_text_is_padded() {
        for len in 0..=CHUNK_BYTES + 1 {
            let text = "a".repeat(len);
            let wanted = format!("{text}{}", ":".repeat(CHUNK_BYTES));
            let found = chunk_at_start(text.as_bytes(), b':', &mut [b'x'; CHUNK_BYTES]).to_vec();
            assert_eq!(found, wanted.as_bytes()[..CHUNK_BYTES]);
        }
    }
}
