//! Bytes to lines.

#![no_main]

use fuzz::protocol::framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // How long the pieces are in which the rest arrives, and how long a line may be.
    let Some(([bytes_max, pieces @ ..], bytes)) = input.split_first_chunk::<4>() else { return };
    framing::any_cutting_gives_the_same_lines(bytes, usize::from(*bytes_max), pieces);
});
