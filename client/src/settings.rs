//! The client's settings: reads file and environment once into a valid [`Config`].
//!
//! No other module reads the environment. `client/config.yaml` lists every key with its default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::log::{Form, Level};
use program::settings::{self, Key, SettingError, SettingErrors, Settings, Shown};
use protocol::limits::{AGENCIES_MAX, LINE_BYTES_MAX};
use protocol::{AgencyId, Bet, Field};

use crate::bets::{BatchLimits, Bets, invalid_fields};
use crate::limits;

program::setting_keys! {
    ID = "CLI_ID" in_file "id";
    SERVER_ADDRESS = "CLI_SERVER_ADDRESS" in_file "server.address";
    BETS_DIR = "CLI_BETS_DIR" in_file "bets_dir";
    BATCH_SIZE = "CLI_BATCH_SIZE" in_file "batch_size";
    MAX_PACKET_BYTES = "CLI_MAX_PACKET_BYTES" in_file "max_packet_bytes";
    LOG_LEVEL = "CLI_LOG_LEVEL" in_file "log.level";
    LOG_FORMAT = "LOG_FORMAT" in_file "log.format";
    CONNECT_TIMEOUT = "CLI_CONNECT_TIMEOUT" in_file "connect_timeout";
    ANSWER_TIMEOUT = "CLI_ANSWER_TIMEOUT" in_file "answer_timeout";
    GIVE_UP_AFTER = "CLI_GIVE_UP_AFTER" in_file "give_up_after";
    FALLBACK = "CLI_FALLBACK" in_file "fallback";
    WINNERS_PATIENCE = "CLI_WINNERS_PATIENCE" in_file "winners_patience";
    WINNERS_FILE = "CLI_WINNERS_FILE" in_file "winners_file";
    CLAIMS_DIR = "CLI_CLAIMS_DIR" in_file "claims_dir";
    AGENCIES_AMOUNT = "CLI_AGENCIES_AMOUNT" in_file "agencies_amount";
    GENERATE_ROWS = "CLI_GENERATE_ROWS" in_file "generate_rows";
}

/// The variables of a single bet, in the order of [`Field::ALL`].
pub const BET_VARIABLES: [&str; 5] = ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];

/// The agency whose bets are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// This agency.
    Number(AgencyId),
    /// An agency that no running client has claimed.
    Auto,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(agency) => agency.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// One or more `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddresses(pub Vec<String>);

impl fmt::Display for ServerAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// The timeouts and pauses of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a look-up, and for an instance to accept a connection.
    pub connect: Duration,
    /// For an instance to accept a packet, and for it to answer.
    pub answer: Duration,
    /// Without progress at any instance, before the client gives up.
    pub give_up: Duration,
    /// For the draw at one instance, before the client asks another.
    pub winners: Duration,
    /// The pause after the first failure. It doubles with each consecutive failure.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// For how long servers must close connections on `AgencyStatus` to be legacy servers.
    pub legacy_detection: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: limits::CONNECT_TIMEOUT,
            answer: limits::ANSWER_TIMEOUT,
            give_up: limits::GIVE_UP_TIMEOUT,
            winners: limits::WINNERS_TIMEOUT,
            pause_min: limits::PAUSE_MIN,
            pause_max: limits::PAUSE_MAX,
            legacy_detection: limits::LEGACY_DETECTION_TIME,
        }
    }
}

/// Valid settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The agency; `None` if it is not set and not needed.
    pub id: Option<Id>,
    /// The servers' names and ports.
    pub servers: ServerAddresses,
    /// The directory of the files `agency-<n>.csv`.
    pub bets_dir: PathBuf,
    /// The one bet of the environment, which is used instead of a file.
    pub bet: Option<Bets>,
    /// The limits of one packet.
    pub limits: BatchLimits,
    /// The least serious level that is logged.
    pub level: Level,
    /// The form of a log line.
    pub form: Form,
    /// The timeouts of a session.
    pub timeouts: Timeouts,
    /// Whether the client may use the fallback, which does not promise that each bet is stored
    /// once.
    pub is_fallback_allowed: bool,
    /// A file for the winners' documents, besides standard output.
    pub winners_file: Option<PathBuf>,
    /// The directory that the clients with the id `auto` share.
    pub claims_dir: PathBuf,
    /// The number of agencies, for claims and generated bets.
    pub agencies: u32,
    /// The number of bets to generate if there is no file; 0 generates none.
    pub generate_rows: u64,
    /// The name of this machine or container, for claims.
    pub host: String,
}

/// A [`Config`], and what is logged about it.
#[derive(Debug)]
pub struct LoadedSettings {
    /// The settings.
    pub config: Config,
    /// The names and values in effect.
    pub effective: Vec<(&'static str, String)>,
    /// Keys of the file that are not settings.
    pub unknown: Vec<String>,
}

/// A variable of the process's environment. An empty one is not set.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}

/// Reads the settings from the `values` of `file`, which variables of `environment` override. With
/// `needs_id` the id must be set.
///
/// # Errors
/// Every value that is not allowed.
pub fn read(
    file: Option<&Path>,
    values: BTreeMap<String, String>,
    environment: fn(&str) -> Option<String>,
    needs_id: bool,
) -> Result<LoadedSettings, SettingErrors> {
    let mut errors = Vec::new();
    let bet = read_bet(environment, &mut errors);
    let mut all = Settings::with_environment(file, values, environment);
    let unknown = all.unknown_keys(&KEYS);
    let allowed = format!("an agency number, 1 to {AGENCIES_MAX}, or auto");
    let id = all.read_optional(ID, &allowed, |text| match text.to_ascii_lowercase().as_str() {
        "auto" => Some(Id::Auto),
        number => number.parse().ok().map(Id::Number),
    });
    let winners_file = all.read_optional(WINNERS_FILE, "a path", path).map(|path| path.0);
    let mut config = read_config(&mut all);
    // Legacy servers must be detected before the client gives up.
    let timeouts = &mut config.timeouts;
    timeouts.legacy_detection = timeouts.legacy_detection.min(timeouts.give_up / 2);
    config.bet = bet;
    config.host = environment("HOSTNAME").unwrap_or_else(host_name);
    (config.id, config.winners_file) = (id, winners_file);
    let finished = all.finish();
    if needs_id && id.is_none() && !names_key(&finished, ID) {
        errors.push(setting_error(ID.environment, "", "not set", allowed));
    }
    match finished {
        Ok(mut effective) if errors.is_empty() => {
            effective.extend(id.map(|id| (ID.environment, id.to_string())));
            let winners_file = config.winners_file.as_deref();
            effective
                .extend(winners_file.map(|p| (WINNERS_FILE.environment, p.display().to_string())));
            Ok(LoadedSettings { config, effective, unknown })
        }
        Ok(_) => Err(SettingErrors(errors)),
        Err(SettingErrors(mut all)) => {
            all.append(&mut errors);
            Err(SettingErrors(all))
        }
    }
}

fn names_key<T>(finished: &Result<T, SettingErrors>, key: Key) -> bool {
    finished.as_ref().err().is_some_and(|SettingErrors(errors)| {
        errors.iter().any(|error| error.key == key.file || error.key == key.environment)
    })
}

/// All settings except the id, the winners' file, the bet and the host.
fn read_config(all: &mut Settings) -> Config {
    let default = Timeouts::default();
    let default_address = ServerAddresses(vec!["127.0.0.1:12345".to_owned()]);
    let addresses = "one or more host:port, separated by commas";
    Config {
        id: None,
        bet: None,
        winners_file: None,
        host: String::new(),
        servers: all.read(SERVER_ADDRESS, default_address, addresses, server_addresses),
        bets_dir: all.read(BETS_DIR, Shown("bets".into()), "a directory", path).0,
        limits: BatchLimits {
            bets: {
                let (usual, most) = (limits::PACKET_BETS_DEFAULT, limits::PACKET_BETS_MAX);
                number(all, BATCH_SIZE, usual as u64, 1, most as u64) as usize
            },
            bytes: {
                let (least, most) = (limits::PACKET_BYTES_MIN as u64, LINE_BYTES_MAX as u64);
                number(all, MAX_PACKET_BYTES, limits::PACKET_BYTES_DEFAULT as u64, least, most)
                    as usize
            },
        },
        level: all.read(LOG_LEVEL, Level::Info, Level::ALLOWED, |text| text.parse().ok()),
        form: all.read(LOG_FORMAT, Form::Text, Form::ALLOWED, |text| text.parse().ok()),
        timeouts: Timeouts {
            connect: seconds(all, CONNECT_TIMEOUT, default.connect, 1),
            answer: seconds(all, ANSWER_TIMEOUT, default.answer, limits::ANSWER_SECONDS_MIN),
            give_up: seconds(all, GIVE_UP_AFTER, default.give_up, 1),
            winners: seconds(all, WINNERS_PATIENCE, default.winners, 1),
            ..default
        },
        is_fallback_allowed: all.read(FALLBACK, YesNo(true), "yes or no", yes_or_no).0,
        claims_dir: all.read(CLAIMS_DIR, Shown("claims".into()), "a directory", path).0,
        agencies: number(all, AGENCIES_AMOUNT, 5, 1, u64::from(AGENCIES_MAX)) as u32,
        generate_rows: number(all, GENERATE_ROWS, 0, 0, limits::GENERATED_ROWS_MAX),
    }
}

struct YesNo(bool);

impl fmt::Display for YesNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "yes" } else { "no" })
    }
}

fn yes_or_no(text: &str) -> Option<YesNo> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Some(YesNo(true)),
        "no" => Some(YesNo(false)),
        _ => None,
    }
}

fn path(text: &str) -> Option<Shown> {
    (!text.is_empty()).then(|| Shown(text.into()))
}

fn number(all: &mut Settings, key: Key, default: u64, least: u64, most: u64) -> u64 {
    all.read(key, default, format_args!("a number from {least} to {most}"), |text| {
        settings::number(text).filter(|number| (least..=most).contains(number))
    })
}

fn seconds(all: &mut Settings, key: Key, default: Duration, least: u64) -> Duration {
    let allowed = format!("whole seconds from {least} to {}", limits::SETTING_SECONDS_MAX);
    let seconds = all.read(key, default.as_secs(), allowed, |text| {
        settings::number(text)
            .filter(|seconds| (least..=limits::SETTING_SECONDS_MAX).contains(seconds))
    });
    Duration::from_secs(seconds)
}

fn server_addresses(text: &str) -> Option<ServerAddresses> {
    let address = |part: &str| {
        let part = part.trim();
        let (host, port) = part.rsplit_once(':')?;
        let is_plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        let is_port = settings::number::<u16>(port).is_some_and(|port| port > 0);
        (!host.is_empty() && is_plain && is_port).then(|| part.to_owned())
    };
    text.split(',').map(address).collect::<Option<_>>().map(ServerAddresses)
}

fn host_name() -> String {
    std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim().to_owned()
}

fn setting_error(key: &str, value: &str, place: &str, allowed: String) -> SettingError {
    let (key, value, source_name) = (key.to_owned(), value.to_owned(), place.to_owned());
    SettingError { key, value, source_name, allowed }
}

/// The bet of the environment, of which all variables must be set or none.
fn read_bet(
    environment: fn(&str) -> Option<String>,
    errors: &mut Vec<SettingError>,
) -> Option<Bets> {
    let values = BET_VARIABLES.map(environment);
    if values.iter().all(Option::is_none) {
        return None;
    }
    let missing = BET_VARIABLES.iter().zip(&values).filter(|(_, value)| value.is_none());
    let count = errors.len();
    errors.extend(missing.map(|(name, _)| {
        let allowed = format!("set, as {} are all or none", BET_VARIABLES.join(", "));
        setting_error(name, "", "not set", allowed)
    }));
    if errors.len() > count {
        return None;
    }
    let fields = values.each_ref().map(|value| value.as_deref().unwrap_or_default());
    match Bet::new(fields) {
        Ok(bet) => Some(Bets::of_one(&bet)),
        Err(_) => {
            errors.extend(invalid_fields(fields).into_iter().filter_map(|(invalid, value)| {
                let place = Field::ALL.iter().position(|field| *field == invalid.field)?;
                let (name, allowed) = (BET_VARIABLES.get(place)?, invalid.allowed.to_owned());
                Some(setting_error(name, value, &settings::place(name), allowed))
            }));
            None
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
