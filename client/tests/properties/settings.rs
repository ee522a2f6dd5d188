//! Properties of the client's settings: any file and environment give valid settings, or an error
//! for each wrong value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use client::limits::{ANSWER_SECONDS_MIN, PACKET_BYTES_MIN};
use client::settings::{BET_VARIABLES, Config, KEYS, read};
use client::settings_file::flatten;
use program::settings::SettingErrors;
use protocol::limits::{BETS_MAX, LINE_BYTES_MAX};

type Variables = BTreeMap<String, String>;

thread_local! {
    /// The variables for `environment`, which must be a function.
    static ENVIRONMENT: RefCell<Variables> = const { RefCell::new(Variables::new()) };
}

fn environment(name: &str) -> Option<String> {
    let value = ENVIRONMENT.with_borrow(|all| all.get(name).cloned());
    value.filter(|value| !value.is_empty())
}

/// Reads the settings from a `config.yaml` with the text `yaml` and from an environment of
/// `NAME=value` lines. They are valid and can be read again from their own output, or an error
/// names each key with a wrong value.
pub fn settings_hold_or_are_refused_by_name(yaml: &str, environment: &str) {
    let Ok(typed) = flatten(yaml) else { return };
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.into(), value.into()));
    match read_under(&typed, environment.lines().filter_map(pair).collect()) {
        Ok(read) => {
            holds(&read, &typed);
            // It reads its own output.
            let output = read.effective.iter();
            let output = output.map(|(name, value)| ((*name).to_owned(), value.clone()));
            let again = read_under(&Variables::new(), output.collect());
            assert_eq!(again.expect("effective values are allowed").effective, read.effective);
        }
        Err(SettingErrors(errors)) => {
            assert!(!errors.is_empty());
            for error in errors {
                let names = KEYS.iter().flat_map(|key| [key.file, key.environment]);
                let is_named = names.chain(BET_VARIABLES).any(|name| error.key == name);
                let is_explained = !error.allowed.is_empty() && !error.source_name.is_empty();
                assert!(is_named && is_explained, "{error}");
            }
        }
    }
}

fn read_under(typed: &Variables, variables: Variables) -> Result<Config, SettingErrors> {
    ENVIRONMENT.set(variables);
    read(Some(Path::new("config.yaml")), typed.clone(), environment, false)
}

fn holds(config: &Config, typed: &Variables) {
    assert!((1..=BETS_MAX).contains(&config.limits.bets));
    assert!((PACKET_BYTES_MIN..=LINE_BYTES_MAX).contains(&config.limits.bytes));
    assert!(!config.servers.is_empty() && config.servers.iter().all(|a| a.contains(':')));
    assert!(config.timeouts.answer.as_secs() >= ANSWER_SECONDS_MIN);
    assert!(!config.bets_dir.as_os_str().is_empty() && !config.claims_dir.as_os_str().is_empty());
    assert!(config.bet.as_ref().is_none_or(|bets| bets.rows() == 1));
    for key in typed.keys() {
        let is_known = KEYS.iter().any(|known| known.file == key);
        assert!(is_known || config.unknown.contains(key), "{key} is reported");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = " {0,2}(id|server|address|server.address|batch_size|max_packet_bytes|log|\
        level|log.level|answer_timeout|fallback|winners_file|agencies_amount|\
        [a-z&*!{\\[\"?-]{1,3}): ?\
        (-?[0-9]{1,5}|auto|a:1, b:2|\\[a:1, '[::1]:2'\\]|yes|no|~|debug|\
        [a-z:'\"&*!{}\\[\\]| ]{0,6})";
    const VARIABLE: &str = "(CLI_ID|CLI_SERVER_ADDRESS|CLI_BATCH_SIZE|CLI_LOG_LEVEL|CLI_BETS_DIR|\
        CLI_WINNERS_FILE|CLI_CLAIMS_DIR|NOMBRE|APELLIDO|DOCUMENTO|NACIMIENTO|NUMERO|HOSTNAME)=\
        (7|100000|auto|a:1|:1,|2000-01-01|debug| |\tb |\u{0}|)";
    const BET: &str = "NOMBRE=A\nAPELLIDO=B\nDOCUMENTO=1\nNACIMIENTO=2000-01-01\nNUMERO=007";

    proptest! {
        #[test]
        fn hold_for_near_settings(
            yaml in proptest::collection::vec(LINE, 0..6),
            environment in prop::collection::vec(prop_oneof![9 => VARIABLE, 1 => Just(BET.to_owned())], 0..6),
        ) {
            settings_hold_or_are_refused_by_name(&yaml.join("\n"), &environment.join("\n"));
        }
    }
}
