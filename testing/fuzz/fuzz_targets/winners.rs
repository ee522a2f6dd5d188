//! The draw over whatever `bets.csv` holds.

#![no_main]

use fuzz::server::draws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The winning number, and behind which line the first part of the file ends.
    let Some(([low, high, cut], lines)) = input.split_first_chunk::<3>() else { return };
    let number = u16::from_le_bytes([*low, *high]);
    draws::winners_are_those_of_every_row(lines, usize::from(*cut), number);
});
