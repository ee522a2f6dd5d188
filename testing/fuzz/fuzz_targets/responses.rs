//! Packets to an agency.

#![no_main]

use fuzz::protocol::responses;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| responses::a_line_is_an_answer_or_none(line));
