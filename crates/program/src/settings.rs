//! Settings: as typed in a file or in the environment, then read once into values that hold.
//!
//! The environment goes before the file, the file before the default. A value that is empty, or
//! blank, counts as unset, in both: Compose passes such variables on. Every wrong value is
//! reported, not only the first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::{info, warn};

use crate::dotenv;

/// A setting's two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name in the configuration file.
    pub file: &'static str,
    /// Its name in the environment.
    pub environment: &'static str,
}

impl Key {
    /// A key that has the same name in both places.
    #[must_use]
    pub const fn same(name: &'static str) -> Self {
        Self { file: name, environment: name }
    }
}

/// A path as a setting's value, which is printed as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(pub PathBuf);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}={} ({source_name}): must be {allowed}", in_one_line(value))]
pub struct SettingError {
    /// The setting's name, as it was typed.
    pub key: String,
    /// The value, as it was typed.
    pub value: String,
    /// Where it was typed.
    pub source_name: String,
    /// What is allowed.
    pub allowed: String,
}

/// A value with its control characters spelt out: what is told of it is one line.
fn in_one_line(value: &str) -> String {
    let spell = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    value.chars().map(spell).collect()
}

/// Every wrong value of a start, one a line.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingErrors(pub Vec<SettingError>);

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingErrors {}

type Environment = Box<dyn Fn(&str) -> Option<String>>;

/// Settings as they were typed, read one after the other.
pub struct Settings {
    file: Option<PathBuf>,
    typed: BTreeMap<String, String>,
    environment: Environment,
    effective: Vec<(&'static str, String)>,
    errors: Vec<SettingError>,
}

impl Settings {
    /// Settings of a file's content (`typed`, by the keys' names in the file) under the process's
    /// environment.
    #[must_use]
    pub fn new(file: Option<&Path>, typed: BTreeMap<String, String>) -> Self {
        Self::with_environment(file, typed, |name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// As [`Settings::new`], with another environment.
    #[must_use]
    pub fn with_environment(
        file: Option<&Path>,
        typed: BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String> + 'static,
    ) -> Self {
        Self {
            file: file.map(Path::to_owned),
            typed,
            environment: Box::new(environment),
            effective: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The setting `key`, read by `parse`; `default` if it is not set. A value that `parse`
    /// refuses is kept for [`Settings::finish`], with `allowed`, a phrase after "must be".
    pub fn read<T: fmt::Display>(
        &mut self,
        key: Key,
        default: T,
        allowed: impl fmt::Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let value = self.read_optional(key, allowed, parse).unwrap_or(default);
        self.effective.push((key.environment, value.to_string()));
        value
    }

    /// As [`Settings::read`], for a setting that has no default.
    pub fn read_optional<T>(
        &mut self,
        key: Key,
        allowed: impl fmt::Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (name, text, source_name) = self.typed(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            let allowed = allowed.to_string();
            self.errors.push(SettingError { key: name, value: text, source_name, allowed });
        }
        value
    }

    fn typed(&self, key: Key) -> Option<(String, String, String)> {
        if let Some(text) = (self.environment)(key.environment).filter(|text| is_set(text)) {
            return Some((key.environment.to_owned(), text, place(key.environment)));
        }
        let text = self.typed.get(key.file).filter(|text| is_set(text))?;
        let file = self.file.as_deref().unwrap_or(Path::new("the configuration file"));
        Some((key.file.to_owned(), text.clone(), format!("from {}", file.display())))
    }

    /// The keys of the file that are none of `known`: most likely misspelt.
    #[must_use]
    pub fn unknown_keys(&self, known: &[Key]) -> Vec<String> {
        let is_known = |name: &String| known.iter().any(|key| key.file == name);
        self.typed.keys().filter(|name| !is_known(name)).cloned().collect()
    }

    /// The names and values that are in force, in the order in which they were read.
    ///
    /// # Errors
    /// Every value that was not allowed.
    pub fn finish(self) -> Result<Vec<(&'static str, String)>, SettingErrors> {
        if self.errors.is_empty() { Ok(self.effective) } else { Err(SettingErrors(self.errors)) }
    }
}

/// Where a variable of the process's environment was typed, for [`SettingError::source_name`].
#[must_use]
pub fn place(name: &str) -> String {
    format!("from {}", dotenv::place_of(name))
}

/// A number in plain digits, without a sign, as the wire has them.
#[must_use]
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

fn is_set(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Logs the settings in force, and each key of the file that nobody knows, which is ignored.
/// `listing` is where a person finds all keys. To be called once, at the start.
pub fn log_effective(effective: &[(&'static str, String)], unknown: &[String], listing: &str) {
    let settings: Vec<String> =
        effective.iter().map(|(name, value)| format!("{name}={value}")).collect();
    info!(action = "config", result = "success", settings = settings.join(" "));
    for key in unknown {
        let error = format!("no such setting, ignored: {listing} has all of them");
        warn!(action = "config", result = "fail", key, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Key = Key::same("SERVER_PORT");
    const SIZE: Key = Key { file: "batch_size", environment: "CLI_BATCH_SIZE" };

    fn settings(file: &[(&str, &str)], environment: &[(&str, &str)]) -> Settings {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let environment = map(environment);
        Settings::with_environment(Some(Path::new("a.ini")), map(file), move |name| {
            environment.get(name).cloned()
        })
    }

    #[test]
    fn numbers_are_plain_digits() {
        for (text, wanted) in
            [("0", Some(0)), ("00065535", Some(65_535)), ("65536", None), ("", None)]
        {
            assert_eq!(number::<u16>(text), wanted, "{text}");
        }
        for text in ["+5", "-5", "5.", "1_000", "5 5", "٥"] {
            assert_eq!(number::<u16>(text), None, "{text}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file_and_the_file_before_the_default() {
        let file = [("SERVER_PORT", "2"), ("batch_size", "5")];
        let mut all = settings(&file, &[("SERVER_PORT", "3"), ("CLI_BATCH_SIZE", " ")]);
        assert_eq!(all.read(PORT, 1, "a port", number), 3);
        assert_eq!(all.read(SIZE, 1, "a size", number), 5);
        assert_eq!(all.read(Key::same("OTHER"), 9, "a number", number), 9);
        let wanted = [("SERVER_PORT", "3"), ("CLI_BATCH_SIZE", "5"), ("OTHER", "9")];
        assert_eq!(all.finish().unwrap(), wanted.map(|(k, v)| (k, v.to_owned())));
    }

    #[test]
    fn every_wrong_value_is_named_with_its_place() {
        let mut all = settings(&[("batch_size", "many")], &[("SERVER_PORT", "x")]);
        all.read(PORT, 1, "a port, 1 to 65535", number);
        all.read(SIZE, 1, "a number from 1 to 3000", number);
        assert_eq!(
            all.finish().unwrap_err().to_string(),
            "SERVER_PORT=x (from the environment): must be a port, 1 to 65535\n\
             batch_size=many (from a.ini): must be a number from 1 to 3000"
        );
    }

    #[test]
    fn keys_that_nobody_knows_are_told() {
        let all = settings(&[("SERVER_PROT", "1"), ("SERVER_PORT", "1")], &[]);
        assert_eq!(all.unknown_keys(&[PORT]), ["SERVER_PROT"]);
    }
}
