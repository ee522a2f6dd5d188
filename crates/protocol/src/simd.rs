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
