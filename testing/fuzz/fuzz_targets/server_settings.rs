//! `config.ini` and the environment of a server.

#![no_main]

use fuzz::server::settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The file, and behind a line of its own the environment.
    let (ini, environment) = text.split_once("\n---\n").unwrap_or((text, ""));
    settings::settings_hold_or_are_refused_by_name(ini, environment);
});
