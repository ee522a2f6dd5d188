//! Reads settings from the environment and a file into valid values.
//!
//! A variable overrides the file, and the file overrides the default. An empty or blank value
//! counts as not set, because Compose passes on variables that are not set as empty. All wrong
//! values are reported, not only the first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::{info, warn};

use crate::dotenv;

/// The names of a setting.
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

/// Defines a constant [`Key`] for each setting, and `KEYS` with all of them. A setting whose name
/// in the file is not given has the same name in both places.
#[macro_export]
macro_rules! setting_keys {
    ($($name:ident = $environment:literal $(in_file $file:literal)?;)*) => {
        $(const $name: $crate::settings::Key = $crate::settings::Key {
            file: [$($file,)? $environment][0],
            environment: $environment,
        };)*
        /// All keys.
        pub const KEYS: [$crate::settings::Key; [$($environment),*].len()] = [$($name),*];
    };
}

/// A value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}={} ({source_name}): must be {allowed}", in_one_line(value))]
pub struct SettingError {
    /// The setting's name, in the place where it is set.
    pub key: String,
    /// The value, unchanged.
    pub value: String,
    /// Where it is set: the environment, a line of `.env`, or a file.
    pub source_name: String,
    /// What is allowed.
    pub allowed: String,
}

/// A value with its control characters escaped, so that a message is one line.
fn in_one_line(value: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    value.chars().map(escape).collect()
}

/// All wrong values. Displays as one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingErrors(pub Vec<SettingError>);

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingErrors {}

type Environment = Box<dyn Fn(&str) -> Option<String>>;

/// Reads the settings one after the other, and collects the errors.
pub struct Settings {
    file: Option<PathBuf>,
    values: BTreeMap<String, String>,
    environment: Environment,
    effective: Vec<(&'static str, String)>,
    errors: Vec<SettingError>,
}

impl Settings {
    /// Settings from a file's `values`, by their names in the file, and from the process's
    /// environment.
    #[must_use]
    pub fn new(file: Option<&Path>, values: BTreeMap<String, String>) -> Self {
        Self::with_environment(file, values, |name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// As [`Settings::new`], with another environment.
    #[must_use]
    pub fn with_environment(
        file: Option<&Path>,
        values: BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String> + 'static,
    ) -> Self {
        Self {
            file: file.map(Path::to_owned),
            values,
            environment: Box::new(environment),
            effective: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The setting `key`, read by `parse`, or `default` if it is not set. If `parse` refuses the
    /// value, [`Settings::finish`] reports it with `allowed`, a phrase after "must be".
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
        let (name, text, source_name) = self.find(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            let allowed = allowed.to_string();
            self.errors.push(SettingError { key: name, value: text, source_name, allowed });
        }
        value
    }

    /// The name, text and place of a setting's value.
    fn find(&self, key: Key) -> Option<(String, String, String)> {
        if let Some(text) = (self.environment)(key.environment).filter(|text| is_set(text)) {
            return Some((key.environment.to_owned(), text, place(key.environment)));
        }
        let text = self.values.get(key.file).filter(|text| is_set(text))?;
        let file = self.file.as_deref().unwrap_or(Path::new("the configuration file"));
        Some((key.file.to_owned(), text.clone(), format!("from {}", file.display())))
    }

    /// The keys of the file that are not `known`. Most likely they are misspelt.
    #[must_use]
    pub fn unknown_keys(&self, known: &[Key]) -> Vec<String> {
        let is_known = |name: &String| known.iter().any(|key| key.file == name);
        self.values.keys().filter(|name| !is_known(name)).cloned().collect()
    }

    /// The names and values in effect, in the order in which they were read.
    ///
    /// # Errors
    /// All values that are not allowed.
    pub fn finish(self) -> Result<Vec<(&'static str, String)>, SettingErrors> {
        if self.errors.is_empty() { Ok(self.effective) } else { Err(SettingErrors(self.errors)) }
    }
}

/// Where a variable of the process's environment is set, for [`SettingError::source_name`].
#[must_use]
pub fn place(name: &str) -> String {
    format!("from {}", dotenv::place_of(name))
}

/// A number in decimal digits without a sign, as on the wire.
#[must_use]
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok())?
}

fn is_set(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Logs the settings in effect, and each unknown key of the file, which is ignored. `listing` is
/// the file that lists all keys. Must be called once, at the start.
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
    fn numbers_are_decimal_digits() {
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
    fn the_environment_overrides_the_file_and_the_file_the_default() {
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
    fn unknown_keys_are_reported() {
        let all = settings(&[("SERVER_PROT", "1"), ("SERVER_PORT", "1")], &[]);
        assert_eq!(all.unknown_keys(&[PORT]), ["SERVER_PROT"]);
    }
}
