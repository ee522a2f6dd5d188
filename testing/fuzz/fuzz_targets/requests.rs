//! Packets to a server.

#![no_main]

use fuzz::protocol::requests;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    requests::a_line_is_a_request_or_refused(line);
    if let Ok(text) = str::from_utf8(line) {
        requests::bets_are_those_one_by_one(text);
    }
});
