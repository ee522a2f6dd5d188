//! An agency's file of bets.

#![no_main]

use fuzz::client::bets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // In reads of which length the file is read, and how many bets a packet may hold.
    let Some(([piece, batch], bytes)) = input.split_first_chunk::<2>() else { return };
    bets::a_file_is_bets_or_its_bad_lines_are_named(bytes, (*piece).into(), (*batch).into());
    bets::records_are_bets(bytes);
});
