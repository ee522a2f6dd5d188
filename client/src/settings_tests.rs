use super::*;
use crate::settings_file::flatten;
use std::collections::BTreeSet;

const CONFIG_YAML: &str = include_str!("../config.yaml");

fn nothing(_: &str) -> Option<String> {
    None
}

fn read_text(
    yaml: &str,
    environment: fn(&str) -> Option<String>,
) -> Result<Config, Vec<SettingError>> {
    let file = Some(Path::new("config.yaml"));
    read(file, flatten(yaml).unwrap(), environment, true).map_err(|SettingErrors(errors)| errors)
}

/// The keys of the wrong values of a file, without an environment.
fn wrong_keys(yaml: &str) -> BTreeSet<String> {
    read_text(yaml, nothing).unwrap_err().into_iter().map(|error| error.key).collect()
}

#[test]
fn the_committed_file_has_every_key_with_its_default() {
    let set = CONFIG_YAML.replace("\nid:\n", "\nid: 1\n");
    let set = flatten(&set.replace("\nwinners_file:\n", "\nwinners_file: a\n")).unwrap();
    let known: BTreeSet<&str> = KEYS.iter().map(|key| key.file).collect();
    assert_eq!(set.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);

    let of_file = read(None, flatten(CONFIG_YAML).unwrap(), nothing, false).unwrap();
    let of_code = read(None, BTreeMap::new(), nothing, false).unwrap();
    assert_eq!(of_file, of_code);
    assert!(CONFIG_YAML.contains(&format!("1 to {}\n", limits::PACKET_BETS_MAX)));
}

#[test]
fn the_environment_goes_before_the_file() {
    let environment = |name: &str| match name {
        "CLI_ID" => Some("7".to_owned()),
        "CLI_SERVER_ADDRESS" => Some("a:1, [::1]:2".to_owned()),
        "HOSTNAME" => Some("0123456789ab".to_owned()),
        _ => None,
    };
    let yaml = "id: 3\nbatch_size: 5\nanswer_timeout: 6\nspeed: 1\nlog:\n  level: fatal\n\
                fallback: No";
    let config = read_text(yaml, environment).unwrap();
    assert_eq!(config.id, Some(Id::Number(AgencyId::new(7).unwrap())));
    assert_eq!(config.servers, ["a:1", "[::1]:2"]);
    assert_eq!((config.limits.bets, config.limits.bytes), (5, 8192));
    assert_eq!((config.timeouts.answer, config.level), (Duration::from_secs(6), Level::Critical));
    assert_eq!((config.host.as_str(), config.unknown), ("0123456789ab", vec!["speed".to_owned()]));
    assert!(config.effective.contains(&("CLI_ID", "7".to_owned())) && !config.is_fallback_allowed);
    let config = read_text("id: AUTO\nfallback: YES", nothing).unwrap();
    assert!(config.id == Some(Id::Auto) && config.is_fallback_allowed, "words are in any case");
}

#[test]
fn every_wrong_value_is_refused_by_name() {
    let yaml = "id: 0\nserver: {address: 'a:1,b'}\nbatch_size: 0\nmax_packet_bytes: 65537\n\
                log: {level: loud, format: xml}\nconnect_timeout: 0\nanswer_timeout: 5\n\
                give_up_after: -1\nfallback: maybe\nwinners_patience: 1.5\n\
                agencies_amount: 100001\ngenerate_rows: many\nprefer: far";
    let mut wanted: BTreeSet<&str> = KEYS.iter().map(|key| key.file).collect();
    wanted.retain(|key| !["bets_dir", "winners_file", "claims_dir"].contains(key));
    assert_eq!(wrong_keys(yaml), wanted.into_iter().map(str::to_owned).collect());
    let message = SettingErrors(read_text(yaml, nothing).unwrap_err()).to_string();
    let answer = "answer_timeout=5 (from config.yaml): must be whole seconds from 6 to 86400";
    assert!(message.lines().any(|line| line == answer), "{message}");
    // Numbers have no sign, and an id is needed.
    let yaml = "server: {address: 'a:+1'}\nbatch_size: '+5'\nconnect_timeout: '+5'";
    let wanted = ["CLI_ID", "batch_size", "connect_timeout", "server.address"];
    assert_eq!(wrong_keys(yaml), wanted.map(str::to_owned).into());
}

/// One that is whole and valid is sent in `testing/system`.
#[test]
fn of_a_bet_of_the_environment_every_missing_or_wrong_field_is_named() {
    let partly = |name: &str| (name == "NOMBRE").then(|| "Ana".to_owned());
    let errors = read_text("id: 1", partly).unwrap_err();
    assert!(errors.iter().map(|error| &error.key).eq(&BET_VARIABLES[1..]));

    let wrong = |name: &str| BET_VARIABLES.contains(&name).then(|| "Ana".to_owned());
    let errors = read_text("id: 1", wrong).unwrap_err();
    let allowed = "NACIMIENTO=Ana (from the environment): must be a calendar date YYYY-MM-DD\n\
                   NUMERO=Ana (from the environment): must be 0 to 9999 in plain digits";
    assert_eq!(SettingErrors(errors).to_string(), allowed);
}
