//! Packets to two instances on one volume, against a plain list of bets.

#![no_main]

use fuzz::server::days;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| days::packets_are_answered_as_by_the_oracle(lines));
