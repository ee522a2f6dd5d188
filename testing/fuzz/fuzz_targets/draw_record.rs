//! The draw's record, `draw.json`.

#![no_main]

use fuzz::server::draws;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| draws::a_record_is_told_or_refused(json));
