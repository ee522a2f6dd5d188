//! The client's settings: reads file and environment once into a valid [`Config`].
//!
//! No other module reads the environment. `client/config.yaml` lists every key with its default.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use program::log::{Form, Level};
use program::settings::{self, Key, SettingError, SettingErrors, Settings};
use protocol::limits::{AGENCIES_MAX, LINE_BYTES_MAX};
use protocol::{AgencyId, Bet};

use crate::bets::{BatchLimits, Bets, invalid_fields};
use crate::endpoints::Prefer;
use crate::limits;

program::setting_keys! {
    ID = "CLI_ID" in_file "id";
    SERVER_ADDRESS = "CLI_SERVER_ADDRESS" in_file "server.address";
    PREFER = "CLI_PREFER" in_file "prefer";
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

/// The variables of a single bet, in the order of [`protocol::Field::ALL`].
pub const BET_VARIABLES: [&str; 5] = ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];

const ID_ALLOWED: &str = "an agency number, 1 to 100000, or auto";
const _: () = assert!(AGENCIES_MAX == 100_000, "as the text says");

const NUMBER: &str = "a number";

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

/// Valid settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The agency; `None` if it is not set and not needed.
    pub id: Option<Id>,
    /// The servers, each a `host:port`.
    pub servers: Vec<String>,
    /// Which server is tried first.
    pub prefer: Prefer,
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
    /// The names and values in effect, for the log.
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
) -> Result<Config, SettingErrors> {
    let mut all = Settings::with_environment(file, values, environment);
    let mut config = read_config(&mut all);
    config.host = environment("HOSTNAME").unwrap_or_else(host_name);
    config.unknown = all.unknown_keys(&KEYS);
    let mut errors = Vec::new();
    match all.finish() {
        Ok(effective) => config.effective = effective,
        Err(SettingErrors(wrong)) => errors = wrong,
    }
    let is_id = |error: &SettingError| error.key == ID.file || error.key == ID.environment;
    let is_id_missing = needs_id && config.id.is_none() && !errors.iter().any(is_id);
    match read_bet(environment) {
        Ok(bet) => config.bet = bet,
        Err(SettingErrors(mut wrong)) => errors.append(&mut wrong),
    }
    if is_id_missing {
        errors.push(setting_error(ID.environment, "", "not set", ID_ALLOWED));
    }
    if !errors.is_empty() {
        return Err(SettingErrors(errors));
    }
    let id = config.id.map(|id| (ID.environment, id.to_string()));
    let winners_file = config.winners_file.as_ref().map(|path| path.display().to_string());
    config.effective.extend(id);
    config.effective.extend(winners_file.map(|path| (WINNERS_FILE.environment, path)));
    Ok(config)
}

/// The table of all settings that are keys: each with its default and what is allowed.
fn read_config(all: &mut Settings) -> Config {
    const ADDRESSES: &str = "one or more host:port, separated by commas";
    let path = |text: &str| Some(text.to_owned());
    let mut config = Config {
        id: all.read_optional(ID, ID_ALLOWED, agency_or_auto),
        winners_file: all.read_optional(WINNERS_FILE, "a path", |text| Some(text.into())),
        servers: all
            .read(SERVER_ADDRESS, "127.0.0.1:12345".to_owned(), ADDRESSES, addresses)
            .split(',')
            .map(str::to_owned)
            .collect(),
        prefer: all.read(PREFER, Prefer::Shuffle, "shuffle or nearest", |text| {
            [Prefer::Shuffle, Prefer::Nearest]
                .into_iter()
                .find(|prefer| text.eq_ignore_ascii_case(&prefer.to_string()))
        }),
        bets_dir: all.read(BETS_DIR, "bets".to_owned(), "a directory", path).into(),
        limits: BatchLimits {
            bets: number(
                all,
                BATCH_SIZE,
                NUMBER,
                limits::PACKET_BETS_DEFAULT,
                1..=limits::PACKET_BETS_MAX,
            ),
            bytes: number(
                all,
                MAX_PACKET_BYTES,
                NUMBER,
                limits::PACKET_BYTES_DEFAULT,
                limits::PACKET_BYTES_MIN..=LINE_BYTES_MAX,
            ),
        },
        level: all.read(LOG_LEVEL, Level::Info, Level::ALLOWED, |text| text.parse().ok()),
        form: all.read(LOG_FORMAT, Form::Text, Form::ALLOWED, |text| text.parse().ok()),
        timeouts: Timeouts {
            connect: seconds(all, CONNECT_TIMEOUT, limits::CONNECT_TIMEOUT, 1),
            answer: seconds(
                all,
                ANSWER_TIMEOUT,
                limits::ANSWER_TIMEOUT,
                limits::ANSWER_SECONDS_MIN,
            ),
            give_up: seconds(all, GIVE_UP_AFTER, limits::GIVE_UP_TIMEOUT, 1),
            winners: seconds(all, WINNERS_PATIENCE, limits::WINNERS_TIMEOUT, 1),
            pause_min: limits::PAUSE_MIN,
            pause_max: limits::PAUSE_MAX,
            legacy_detection: limits::LEGACY_DETECTION_TIME,
        },
        is_fallback_allowed: all.read(FALLBACK, "yes", "yes or no", yes_or_no) == "yes",
        claims_dir: all.read(CLAIMS_DIR, "claims".to_owned(), "a directory", path).into(),
        agencies: number(all, AGENCIES_AMOUNT, NUMBER, 5, 1..=AGENCIES_MAX),
        generate_rows: number(all, GENERATE_ROWS, NUMBER, 0, 0..=limits::GENERATED_ROWS_MAX),
        bet: None,
        host: String::new(),
        effective: Vec::new(),
        unknown: Vec::new(),
    };
    // Legacy servers must be detected before the client gives up.
    let timeouts = &mut config.timeouts;
    timeouts.legacy_detection = timeouts.legacy_detection.min(timeouts.give_up / 2);
    config
}

fn agency_or_auto(text: &str) -> Option<Id> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(Id::Auto);
    }
    text.parse().ok().map(Id::Number)
}

fn yes_or_no(text: &str) -> Option<&'static str> {
    ["yes", "no"].into_iter().find(|word| text.eq_ignore_ascii_case(word))
}

/// A number within `range`, of which `kind` says what it counts.
fn number<T>(all: &mut Settings, key: Key, kind: &str, default: T, range: RangeInclusive<T>) -> T
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let allowed = format!("{kind} from {} to {}", range.start(), range.end());
    all.read(key, default, allowed, |text| {
        settings::number(text).filter(|number| range.contains(number))
    })
}

fn seconds(all: &mut Settings, key: Key, default: Duration, least: u64) -> Duration {
    let range = least..=limits::SETTING_SECONDS_MAX;
    Duration::from_secs(number(all, key, "whole seconds", default.as_secs(), range))
}

/// The addresses, with commas between them and without blanks.
fn addresses(text: &str) -> Option<String> {
    let address = |part: &str| {
        let part = part.trim();
        let (host, port) = part.rsplit_once(':')?;
        let is_plain = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        let is_port = settings::number::<u16>(port).is_some_and(|port| port > 0);
        (!host.is_empty() && is_plain && is_port).then(|| part.to_owned())
    };
    let all: Option<Vec<String>> = text.split(',').map(address).collect();
    Some(all?.join(","))
}

fn host_name() -> String {
    std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim().to_owned()
}

fn setting_error(key: &str, value: &str, place: &str, allowed: &str) -> SettingError {
    let [key, value, source_name, allowed] = [key, value, place, allowed].map(str::to_owned);
    SettingError { key, value, source_name, allowed }
}

/// The bet of the environment, of which all variables must be set or none.
fn read_bet(environment: fn(&str) -> Option<String>) -> Result<Option<Bets>, SettingErrors> {
    let values = BET_VARIABLES.map(environment);
    if values.iter().all(Option::is_none) {
        return Ok(None);
    }
    let allowed = format!("set, as {} are all or none", BET_VARIABLES.join(", "));
    let missing = BET_VARIABLES.iter().zip(&values).filter(|(_, value)| value.is_none());
    let missing = missing.map(|(name, _)| setting_error(name, "", "not set", &allowed));
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        return Err(SettingErrors(missing));
    }
    let fields = values.each_ref().map(|value| value.as_deref().unwrap_or_default());
    Bet::new(fields).map(|bet| Some(Bets::of_one(&bet))).map_err(|_| {
        let wrong = BET_VARIABLES.iter().zip(invalid_fields(fields));
        let wrong = wrong.filter_map(|(name, invalid)| {
            let (invalid, value) = invalid?;
            Some(setting_error(name, value, &settings::place(name), invalid.allowed))
        });
        SettingErrors(wrong.collect())
    })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
