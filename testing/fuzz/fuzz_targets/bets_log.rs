//! The whole of `bets.csv`.

#![no_main]

use fuzz::server::logs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Behind which line the file ended when the instance first looked.
    let Some((cut, bytes)) = input.split_first() else { return };
    logs::bets_are_the_same_in_parts(bytes, usize::from(*cut));
    logs::rows_are_those_of_csv(bytes);
});
