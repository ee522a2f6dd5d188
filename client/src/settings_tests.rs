use super::*;
use crate::settings_file::flatten;

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

fn keys(errors: &[SettingError]) -> Vec<&str> {
    errors.iter().map(|error| error.key.as_str()).collect()
}

#[test]
fn the_committed_file_has_every_key_with_its_default() {
    let lines = CONFIG_YAML.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut parent = "";
    let mut named = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').expect("a line is `key: value`");
        match name.strip_prefix("  ") {
            Some(name) => named.push(format!("{parent}.{name}")),
            None if value.trim().is_empty() && !["id", "winners_file"].contains(&name) => {
                parent = name;
            }
            None => named.push(name.to_owned()),
        }
    }
    named.sort_unstable();
    let mut known: Vec<String> = KEYS.iter().map(|key| key.file.to_owned()).collect();
    known.sort_unstable();
    assert_eq!(named, known);

    let of_file = read(None, flatten(CONFIG_YAML).unwrap(), nothing, false).unwrap();
    let of_code = read(None, BTreeMap::new(), nothing, false).unwrap();
    assert_eq!(of_file.effective, of_code.effective);
    assert!(of_file.unknown.is_empty());
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
    let read = read_text("id: 3\nbatch_size: 5\nanswer_timeout: 6\nspeed: 1", environment).unwrap();
    let config = read;
    assert_eq!(config.id, Some(Id::Number(AgencyId::new(7).unwrap())));
    assert_eq!(config.servers, ["a:1", "[::1]:2"]);
    assert_eq!((config.limits.bets, config.limits.bytes), (5, 8192));
    assert_eq!(config.timeouts.answer, Duration::from_secs(6));
    assert_eq!(config.host, "0123456789ab");
    assert_eq!(config.unknown, ["speed"]);
    assert!(config.effective.contains(&("CLI_ID", "7".to_owned())));
}

#[test]
fn every_wrong_value_is_refused_by_name() {
    let yaml = "id: 0\nserver: {address: 'a:1,b'}\nbatch_size: 0\nmax_packet_bytes: 65537\n\
                log: {level: loud, format: xml}\nconnect_timeout: 0\nanswer_timeout: 5\n\
                give_up_after: -1\nfallback: maybe\nwinners_patience: 1.5\n\
                agencies_amount: 100001\ngenerate_rows: many";
    let errors = read_text(yaml, nothing).unwrap_err();
    let message = SettingErrors(errors.clone()).to_string();
    for key in KEYS {
        let wrong = !["bets_dir", "winners_file", "claims_dir"].contains(&key.file);
        assert_eq!(keys(&errors).contains(&key.file), wrong, "{}", key.file);
    }
    assert!(
        message.contains("answer_timeout=5 (from config.yaml): must be whole seconds from 6 to")
    );
}

#[test]
fn numbers_have_no_sign() {
    let yaml = "id: '+1'\nserver: {address: 'a:+1'}\nbatch_size: '+5'\nconnect_timeout: '+5'";
    let errors = read_text(yaml, nothing).unwrap_err();
    let mut wrong = keys(&errors);
    wrong.sort_unstable();
    assert_eq!(wrong, ["batch_size", "connect_timeout", "id", "server.address"]);
}

#[test]
fn the_fallback_may_be_forbidden() {
    let is_allowed = |yaml| read_text(yaml, nothing).unwrap().is_fallback_allowed;
    assert!(is_allowed("id: 1") && is_allowed("id: 1\nfallback: yes"));
    assert!(!is_allowed("id: 1\nfallback: no"));
    assert!(
        is_allowed("id: 1\nfallback: YES") && !is_allowed("id: 1\nfallback: No"),
        "words are in any case"
    );
}

#[test]
fn levels_have_the_names_of_the_reference_client() {
    for (name, level) in [
        ("trace", Level::NotSet),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warning", Level::Warning),
        ("warn", Level::Warning),
        ("error", Level::Error),
        ("fatal", Level::Critical),
        ("panic", Level::Critical),
    ] {
        for name in [name.to_owned(), name.to_uppercase()] {
            let yaml = format!("id: 1\nlog:\n  level: {name}");
            assert_eq!(read_text(&yaml, nothing).unwrap().level, level, "{name}");
        }
    }
}

#[test]
fn an_id_that_is_needed_must_be_set() {
    let errors = read_text("batch_size: x", nothing).unwrap_err();
    assert_eq!(keys(&errors), ["batch_size", "CLI_ID"]);
    for auto in ["id: auto", "id: AUTO"] {
        assert_eq!(read_text(auto, nothing).unwrap().id, Some(Id::Auto));
    }
}

#[test]
fn a_bet_of_the_environment_is_whole_and_valid() {
    let whole = |name: &str| match name {
        "NOMBRE" => Some("Santiago Lionel".to_owned()),
        "APELLIDO" => Some("Lorca".to_owned()),
        "DOCUMENTO" => Some("30904465".to_owned()),
        "NACIMIENTO" => Some("1999-03-17".to_owned()),
        "NUMERO" => Some("7574".to_owned()),
        _ => None,
    };
    let bets = read_text("id: 1", whole).unwrap().bet.unwrap();
    let batch = bets.batch(1, BatchLimits { bets: 1, bytes: limits::PACKET_BYTES_MIN }).unwrap();
    assert_eq!(batch.wire, "Santiago Lionel;Lorca;30904465;1999-03-17;7574");

    let partly = |name: &str| (name == "NOMBRE").then(|| "Ana".to_owned());
    assert_eq!(keys(&read_text("id: 1", partly).unwrap_err()), BET_VARIABLES[1..]);

    let wrong = |name: &str| BET_VARIABLES.contains(&name).then(|| "Ana".to_owned());
    let errors = read_text("id: 1", wrong).unwrap_err();
    let allowed = "NACIMIENTO=Ana (from the environment): must be a calendar date YYYY-MM-DD\n\
                   NUMERO=Ana (from the environment): must be 0 to 9999 in plain digits";
    assert_eq!(SettingErrors(errors).to_string(), allowed);
}
