//! `config.yaml` and the environment of a client.

#![no_main]

use fuzz::client::settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The file, and behind a line of its own the environment.
    let (yaml, environment) = text.split_once("\n---\n").unwrap_or((text, ""));
    settings::settings_hold_or_are_refused_by_name(yaml, environment);
});
