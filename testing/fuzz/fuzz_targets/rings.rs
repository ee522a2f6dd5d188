//! Rings of intents beside the logs.

#![no_main]

use fuzz::server::rings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // How many intents there are; then they, then the log.
    let Some((count, rest)) = input.split_first() else { return };
    let bytes = usize::from(*count % 8) * rings::BYTES_PER_INTENT;
    let Some((intents, log)) = rest.split_at_checked(bytes) else { return };
    rings::mending_keeps_what_others_wrote(intents, log);
});
