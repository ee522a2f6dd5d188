//! Reads the settings file: YAML, flattened to dotted keys. Does not know which keys exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_yaml::Value;

/// The paths of the settings file if `--config` is not given, in this order.
const PLACES: [&str; 2] = ["config.yaml", "client/config.yaml"];

/// The path of the settings file, if there is one, and its values by dotted key.
pub type FileSettings = (Option<PathBuf>, BTreeMap<String, String>);

/// Reads the file `given`, else the first of `./config.yaml` and `./client/config.yaml` that
/// exists.
///
/// # Errors
/// The given file does not exist, or a file is not a map of settings.
pub fn load(given: Option<&Path>) -> anyhow::Result<FileSettings> {
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    let Some(path) = given.or(found) else { return Ok(FileSettings::default()) };
    let option = if given.is_some() { "--config " } else { "" };
    let text = fs::read_to_string(path).with_context(|| format!("{option}{}", path.display()))?;
    let values = flatten(&text).with_context(|| path.display().to_string())?;
    Ok((Some(path.to_owned()), values))
}

/// The values of a YAML text by dotted key. A key without a value is not set. A list becomes its
/// parts with commas between them.
///
/// # Errors
/// The text is not YAML, or not a map of settings.
pub fn flatten(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    match serde_yaml::from_str(text)? {
        Value::Null => {}
        Value::Mapping(map) => flatten_map("", map, &mut values)?,
        _ => bail!("must be a map of settings, `key: value`"),
    }
    Ok(values)
}

fn flatten_map(
    prefix: &str,
    map: serde_yaml::Mapping,
    values: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    for (key, value) in map {
        let key = format!("{prefix}{}", scalar(&key).context("a key must be a word")?);
        match value {
            Value::Null => {}
            Value::Mapping(map) => flatten_map(&format!("{key}."), map, values)?,
            Value::Sequence(parts) => {
                let parts: Option<Vec<String>> = parts.iter().map(scalar).collect();
                let parts = parts.with_context(|| format!("{key} must be a list of words"))?;
                values.insert(key, parts.join(","));
            }
            other => {
                let text = scalar(&other).with_context(|| format!("{key} must be a word"))?;
                if !text.is_empty() {
                    values.insert(key, text);
                }
            }
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_anything_but_a_map_of_words_or_an_absent_file_is_refused() {
        let wanted = [("server.address".to_owned(), "a:1,b:2".to_owned())];
        assert_eq!(flatten("server:\n  address: [a:1, b:2]\nid:\n").unwrap(), wanted.into());
        let (dotted, nested) = ("log.level: info\n", "log:\n  level: info\n");
        assert_eq!(flatten(dotted).unwrap(), flatten(nested).unwrap());
        for text in ["- a\n", "text", "a: [[1]]", "[1]: 2", "a: ["] {
            assert!(flatten(text).is_err(), "{text}");
        }
        let error = load(Some(Path::new("/no/such/file.yaml"))).unwrap_err();
        assert!(format!("{error:#}").starts_with("--config /no/such/file.yaml: "), "{error:#}");
    }
}
