//! The server's settings: whatever the file and the environment say, they hold or are refused by
//! name.

use std::collections::BTreeMap;
use std::path::Path;

use program::settings::{SettingErrors, Settings};
use protocol::limits::AGENCIES_MAX;
use server::settings::{Config, KEYS, flatten};

/// The settings of a `config.ini` with the text `ini` under an environment of `NAME=value` lines
/// hold, and say the same when they are typed again as they are told; or every value that is not
/// allowed is refused by its key.
pub fn settings_hold_or_are_refused_by_name(ini: &str, environment: &str) {
    let Ok(typed) = flatten(ini) else { return };
    let environment = variables(environment);
    match read(&typed, &environment) {
        Ok(config) => {
            holds(&config, &typed);
            reads_itself_again(&config);
        }
        Err(error) => {
            let SettingErrors(errors) = error.downcast().expect("values were refused");
            assert!(!errors.is_empty());
            for error in errors {
                assert!(KEYS.iter().any(|key| key.file == error.key), "{error}");
                assert!(!error.allowed.is_empty() && !error.source_name.is_empty(), "{error}");
            }
        }
    }
}

type Variables = BTreeMap<String, String>;

fn variables(lines: &str) -> Variables {
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.into(), value.into()));
    lines.lines().filter_map(pair).collect()
}

/// A name for an address would be looked up: here only addresses are typed.
fn read(typed: &Variables, environment: &Variables) -> anyhow::Result<Config> {
    let is_address = |value: &str| value.trim().parse::<std::net::Ipv4Addr>().is_ok();
    let without_names = |all: &Variables| {
        let mut all = all.clone();
        all.retain(|key, value| key != "SERVER_IP" || is_address(value));
        all
    };
    let (typed, environment) = (without_names(typed), without_names(environment));
    let file = Some(Path::new("config.ini"));
    Config::read(Settings::with_environment(file, typed, move |name| {
        environment.get(name).cloned()
    }))
}

fn holds(config: &Config, typed: &Variables) {
    assert!((1..=AGENCIES_MAX).contains(&config.agencies_amount));
    assert!(config.backlog > 0 && config.broadcast_port > 0);
    assert!(!config.volume.as_os_str().is_empty(), "a directory has a name");
    let told: Vec<_> = config.effective.iter().map(|(name, _)| *name).collect();
    assert_eq!(told, KEYS.map(|key| key.environment));
    for key in typed.keys() {
        let is_known = KEYS.iter().any(|known| known.file == key);
        assert!(is_known || config.unknown.contains(key), "{key} is told");
    }
}

fn reads_itself_again(config: &Config) {
    let told = config.effective.iter();
    let told = told.map(|(name, value)| ((*name).to_owned(), value.clone()));
    // What is found out at the start is told in words.
    let is_typed =
        |(name, _): &(String, String)| name != "UDP_BROADCAST_IP" || config.broadcast_ip.is_some();
    let again = read(&Variables::new(), &told.filter(is_typed).collect());
    assert_eq!(again.expect("what is in force is allowed").effective, config.effective);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHIPPED: &str = include_str!("../../config.ini");
    const LINE: &str = "(\\[(DEFAULT|default|other|)\\]?|;.*|(SERVER_PORT|server_port|SERVER_IP|\
        AGENCIES_AMOUNT|LOTTERY_WINNER_NUMBER|SHARED_VOLUME|LOGGING_LEVEL|LOG_FORMAT|\
        UDP_BROADCAST_IP|UDP_BROADCAST_PORT|SERVER_LISTEN_BACKLOG|[a-z\\[\\].\"\\\\]{0,4}) ?[=:]? ?\
        (-?[0-9]{1,5}|100000|127.0.0.1|info|FATAL|json|text| |[\"\\\\'#;a-z/]{0,4}))";

    #[test]
    fn hold_for_every_form() {
        for (ini, environment) in [
            (SHIPPED, "SERVER_PORT=0\nAGENCIES_AMOUNT=100000"),
            ("a[999999999] = 1\n", ""),
            ("", "SHARED_VOLUME= \nSERVER_PORT=\nAGENCIES_AMOUNT=+1\nLOTTERY_WINNER_NUMBER=00007"),
        ] {
            settings_hold_or_are_refused_by_name(ini, environment);
        }
    }

    proptest! {
        #[test]
        fn hold_for_near_settings(
            ini in proptest::collection::vec(LINE, 0..8),
            environment in proptest::collection::vec(LINE, 0..4),
        ) {
            settings_hold_or_are_refused_by_name(&ini.join("\n"), &environment.join("\n"));
        }
    }
}
