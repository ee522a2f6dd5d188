//! What a client is answered, by whoever is there.

#![no_main]

use fuzz::client::answers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // In reads of which length the bytes arrive, and how long an answer may be.
    let Some(([piece, bytes_max], bytes)) = input.split_first_chunk::<2>() else { return };
    answers::a_connection_gives_answers_or_says_why(bytes, (*piece).into(), (*bytes_max).into());
});
