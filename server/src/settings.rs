//! The server's settings: reads `config.ini` and the environment, which overrides it, once into a
//! valid [`Config`]. No other module reads the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::Context;
use config::{FileFormat, Source as _};
use messages::limits::PARTICIPANTS_MAX;
use program::log::{Form, Level};
use program::settings::{Settings, number};
use protocol::BetNumber;
use protocol::limits::{AGENCIES_MAX, NUMBER_MAX};

use crate::announce::broadcast_address;

program::setting_keys! {
    SERVER_PORT = "SERVER_PORT";
    SERVER_IP = "SERVER_IP";
    SERVER_LISTEN_BACKLOG = "SERVER_LISTEN_BACKLOG";
    UDP_BROADCAST_IP = "UDP_BROADCAST_IP";
    UDP_BROADCAST_PORT = "UDP_BROADCAST_PORT";
    AGENCIES_AMOUNT = "AGENCIES_AMOUNT";
    LOTTERY_WINNER_NUMBER = "LOTTERY_WINNER_NUMBER";
    SHARED_VOLUME = "SHARED_VOLUME";
    CHAT_MINIMUM = "CHAT_MINIMUM";
    LOGGING_LEVEL = "LOGGING_LEVEL";
    LOG_FORMAT = "LOG_FORMAT";
}

/// The paths of the settings file if `--config` is not given, in this order.
const FILES: [&str; 2] = ["config.ini", "server/config.ini"];

/// The settings of an instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// The port to listen on, 0..=65535; 0 takes any free one.
    pub port: u16,
    /// The address to listen on.
    pub ip: Ipv4Addr,
    /// How many connections may wait to be accepted, 1..=65535.
    pub backlog: u16,
    /// The address of announcements; `None` means the broadcast address of the interface.
    pub broadcast_ip: Option<Ipv4Addr>,
    /// The port of announcements, 1..=65535.
    pub broadcast_port: u16,
    /// The number of agencies, 1..=[`AGENCIES_MAX`].
    pub agencies_amount: u32,
    /// The winning number.
    pub winning_number: BetNumber,
    /// The directory that all instances share.
    pub volume: PathBuf,
    /// How many participants must be online before anyone reads messages, 0..=10,000; 0: none.
    pub chat_minimum: u64,
    /// The lowest level that is logged.
    pub level: Level,
    /// The form of log lines.
    pub form: Form,
    /// The names and values in effect, for the log.
    pub effective: Vec<(&'static str, String)>,
    /// Keys of the file that are not settings.
    pub unknown: Vec<String>,
}

impl Config {
    /// Reads the settings from `path`, else `./config.ini`, else `./server/config.ini`, and from
    /// the environment, which overrides the file.
    ///
    /// # Errors
    /// The file cannot be read; or all values that are not allowed, one a line.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let found = FILES.iter().map(Path::new).find(|file| file.is_file());
        let file = path.or(found);
        let values = file.map(read_ini).transpose()?.unwrap_or_default();
        Self::read(Settings::new(file, values))
    }

    /// Reads the settings from file and environment.
    ///
    /// # Errors
    /// All values that are not allowed, one a line.
    pub fn read(mut all: Settings) -> anyhow::Result<Self> {
        let unknown = all.unknown_keys(&KEYS);
        let used_port = |text: &str| number(text).filter(|port| *port > 0);
        let is_path = |text: &String| !text.contains(char::is_control);
        let settings = Self {
            port: all.read(SERVER_PORT, 12_345, "a port, 0 to 65535 (0: any free one)", number),
            ip: all.read(SERVER_IP, Ipv4Addr::UNSPECIFIED, IP_ALLOWED, ip_of),
            backlog: all.read(SERVER_LISTEN_BACKLOG, 1_024, "1 to 65535", used_port),
            broadcast_ip: all
                .read(UDP_BROADCAST_IP, Broadcast(None), "an IPv4 address", |text| {
                    text.parse().ok().map(|ip| Broadcast(Some(ip)))
                })
                .0,
            broadcast_port: all.read(UDP_BROADCAST_PORT, 5_000, "a port, 1 to 65535", used_port),
            agencies_amount: all.read(
                AGENCIES_AMOUNT,
                5,
                format_args!("a number of agencies, 1 to {AGENCIES_MAX} (in Compose: CLIENTS)"),
                |text| number(text).filter(|amount| (1..=AGENCIES_MAX).contains(amount)),
            ),
            winning_number: all.read(
                LOTTERY_WINNER_NUMBER,
                BetNumber::new(7_574).context("the default is a bet's number")?,
                format_args!("0 to {NUMBER_MAX}"),
                |text| text.parse().ok(),
            ),
            volume: all
                .read(SHARED_VOLUME, "shared-volume".to_owned(), VOLUME_ALLOWED, |text| {
                    Some(text.to_owned()).filter(is_path)
                })
                .into(),
            chat_minimum: all.read(
                CHAT_MINIMUM,
                0,
                format_args!("a number of participants, 0 to {PARTICIPANTS_MAX} (0: at once)"),
                |text| number(text).filter(|minimum| *minimum <= PARTICIPANTS_MAX as u64),
            ),
            level: all.read(LOGGING_LEVEL, Level::Info, Level::ALLOWED, |text| text.parse().ok()),
            form: all.read(LOG_FORMAT, Form::Text, Form::ALLOWED, |text| text.parse().ok()),
            effective: Vec::new(),
            unknown,
        };
        Ok(Self { effective: all.finish()?, ..settings })
    }

    /// The address of announcements: UDP_BROADCAST_IP, else the broadcast address of the interface,
    /// else 255.255.255.255.
    #[must_use]
    pub fn broadcast(&self) -> SocketAddrV4 {
        let of_interface = || broadcast_address(self.ip).ok().flatten();
        let ip = self.broadcast_ip.or_else(of_interface).unwrap_or(Ipv4Addr::BROADCAST);
        SocketAddrV4::new(ip, self.broadcast_port)
    }
}

/// Log lines contain the name, and a log line is one line.
const VOLUME_ALLOWED: &str = "a directory, without control characters in its name";

const IP_ALLOWED: &str = "an IPv4 address, or a name that has one";

/// A name is allowed, because the reference system's settings file has one.
fn ip_of(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok().or_else(|| {
        let mut found = (text, 0).to_socket_addrs().ok()?;
        found.find_map(|address| match address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    })
}

fn read_ini(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read(path).map_err(anyhow::Error::from);
    text.and_then(|text| flatten(&String::from_utf8_lossy(&text)))
        .with_context(|| format!("read settings from {}", path.display()))
}

/// The values of an INI text by their keys in upper case. Keys may be in the section `[DEFAULT]`,
/// as in the reference system's file, or in none.
///
/// # Errors
/// The text is not INI, or a key is set twice, or a line has no value.
pub fn flatten(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Not through `config::Config`, which reads a key as a path and would allocate a list for
    // `key[999999999]`.
    let tables = config::File::from_str(text, FileFormat::Ini).collect();
    let tables = tables.context("each line must be NAME = value")?;
    let mut values = BTreeMap::new();
    let mut put = |key: String, value: String| {
        let before = values.insert(key.clone(), value);
        anyhow::ensure!(before.is_none(), "{key} is set twice");
        Ok(())
    };
    let name_of = |key: String| {
        // The parser makes a line without `=` a part of the next line's key.
        let line = key.lines().next().unwrap_or_default();
        let is_name = !key.contains(char::is_whitespace);
        anyhow::ensure!(is_name, "the line {line:?}: must be NAME = value");
        Ok(key.to_uppercase())
    };
    for (name, value) in tables {
        match value.clone().into_table() {
            Ok(section) if name.eq_ignore_ascii_case("default") => {
                for (key, value) in section {
                    put(name_of(key)?, value.into_string()?)?;
                }
            }
            Ok(_) => put(format!("[{name}]"), String::new())?,
            Err(_) => put(name_of(name)?, value.into_string()?)?,
        }
    }
    Ok(values)
}

struct Broadcast(Option<Ipv4Addr>);

impl fmt::Display for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("of the interface"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&'static str, &'static str)]) -> anyhow::Result<Config> {
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        let value_of = move |name: &str| environment.get(name).map(|value| (*value).to_owned());
        Config::read(Settings::with_environment(None, BTreeMap::new(), value_of))
    }

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let shipped = read_ini(Path::new("config.ini")).unwrap();
        let keys: Vec<_> = shipped.keys().map(String::as_str).collect();
        let mut known = KEYS.map(|key| key.file);
        known.sort_unstable();
        assert_eq!(keys, known, "server/config.ini has a line for every key");
        let from_file = Config::read(Settings::with_environment(
            Some(Path::new("config.ini")),
            shipped,
            |_| None,
        ));
        assert_eq!(from_file.unwrap().effective, read(&[]).unwrap().effective);
    }

    #[test]
    fn every_wrong_value_is_named_with_what_is_allowed() {
        for (key, value, message) in [
            ("SERVER_PORT", "65536", "=65536 (from the environment): must be a port"),
            ("SERVER_PORT", "+5", "=+5 (from the environment): must be a port"),
            ("SERVER_IP", "no such name", "=no such name (from the environment): must be an IPv4"),
            ("SERVER_LISTEN_BACKLOG", "0", "must be 1 to 65535"),
            ("SERVER_LISTEN_BACKLOG", "+5", "must be 1 to 65535"),
            ("UDP_BROADCAST_IP", "x", "=x (from the environment): must be an IPv4 address"),
            ("UDP_BROADCAST_PORT", "0", "must be a port, 1 to 65535"),
            ("UDP_BROADCAST_PORT", "+5", "must be a port, 1 to 65535"),
            ("AGENCIES_AMOUNT", "+5", "must be a number of agencies, 1 to 100000"),
            ("AGENCIES_AMOUNT", "0", "must be a number of agencies, 1 to 100000"),
            ("LOTTERY_WINNER_NUMBER", "10000", "must be 0 to 9999"),
            (
                "SHARED_VOLUME",
                "/srv/a\nb",
                "=/srv/a\\nb (from the environment): must be a directory",
            ),
            ("CHAT_MINIMUM", "10001", "must be a number of participants, 0 to 10000"),
            ("LOGGING_LEVEL", "LOUD", "must be one of NOTSET, DEBUG, INFO, WARNING"),
            ("LOG_FORMAT", "xml", "must be text or json"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.starts_with(key) && error.contains(message), "{error}");
        }
    }

    #[test]
    fn each_line_is_a_name_with_a_value_and_each_name_is_set_once() {
        let typed = flatten("a[999999999] = 1\nb.c = 2\n[my section]\nf = 3\n").unwrap();
        assert_eq!(typed.into_keys().collect::<Vec<_>>(), ["A[999999999]", "B.C", "[my section]"]);
        let (twice, no_value) =
            ("A is set twice", "the line \"server_port 7\": must be NAME = value");
        for (text, error) in [
            ("a = 1\nA = 2", twice),
            ("a = 1\n[DEFAULT]\na = 1", twice),
            ("[default]\na = 1\n[DEFAULT]\na = 1", twice),
            ("server_port 7\nSERVER_IP = 1", no_value),
            ("[DEFAULT]\nserver_port 7\nSERVER_IP = 1", no_value),
        ] {
            assert_eq!(flatten(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn keys_may_be_in_the_default_section_in_any_case() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.ini");
        std::fs::write(&path, "[DEFAULT]\nserver_port = 77\nSERVER_IP = 127.0.0.1\n").unwrap();
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!((config.port, config.ip), (77, Ipv4Addr::LOCALHOST));
    }
}
