//! Reads `.env` of the working directory: environment variables for programs that are run by hand.
//!
//! **Invariant**: a variable that is set already keeps its value. Messages about a variable of the
//! file name its line, because it is not to be found in the environment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::OnceLock;

/// Why `.env` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// It exists and cannot be read.
    #[error("read .env of the working directory")]
    Unreadable(#[source] io::Error),
    /// This line, from 1, is not UTF-8.
    #[error("line {0} of .env: must be UTF-8")]
    NotUtf8(usize),
    /// This line, from 1, does not set a variable.
    #[error("line {0} of .env: must be NAME=value; a value with blanks stands within two quotes")]
    Malformed(usize),
}

/// The variables of the file, and their lines.
static LINES: OnceLock<BTreeMap<String, usize>> = OnceLock::new();

/// Reads `./.env`, if it exists, into the environment. Must be called once, at the start.
///
/// # Errors
/// [`DotenvError`].
pub fn load() -> Result<(), DotenvError> {
    let bytes = match std::fs::read(".env") {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DotenvError::Unreadable(error)),
    };
    let text = utf8_of(bytes)?;
    let mut lines = lines_of(&text);
    lines.retain(|name, _| std::env::var_os(name).is_none());
    let _ = LINES.set(lines);
    let read = Cell::new(0);
    dotenvy::from_read(LineReader { text: &text, read: &read })
        .map_err(|error| refused(error, read.get()))
}

fn utf8_of(bytes: Vec<u8>) -> Result<String, DotenvError> {
    String::from_utf8(bytes).map_err(|refused| {
        let valid = refused.utf8_error().valid_up_to();
        let before = refused.as_bytes().iter().take(valid);
        DotenvError::NotUtf8(1 + before.filter(|byte| **byte == b'\n').count())
    })
}

/// Where the variable `name` is set.
pub(crate) fn place_of(name: &str) -> String {
    match LINES.get().and_then(|lines| lines.get(name)) {
        Some(line) => format!("line {line} of .env"),
        None => "the environment".to_owned(),
    }
}

/// The first line, from 1, that sets each variable.
fn lines_of(text: &str) -> BTreeMap<String, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = BTreeMap::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some((name, _)) = line.split_once('=') {
            lines.entry(name.trim().to_owned()).or_insert(place + 1);
        }
    }
    lines
}

/// A reader of one line at a time. So an error of its user is in the last line that was read.
struct LineReader<'t> {
    text: &'t str,
    /// The number of lines that were read.
    read: &'t Cell<usize>,
}

impl Read for LineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.text.split_inclusive('\n').next().unwrap_or_default();
        let bytes = line.floor_char_boundary(buffer.len());
        let (now, later) = self.text.split_at(bytes);
        buffer.get_mut(..bytes).unwrap_or_default().copy_from_slice(now.as_bytes());
        if bytes > 0 && bytes == line.len() {
            self.read.set(self.read.get() + 1);
        }
        self.text = later;
        Ok(bytes)
    }
}

/// The error of `dotenvy` after `read` lines.
fn refused(error: dotenvy::Error, read: usize) -> DotenvError {
    match error {
        dotenvy::Error::LineParse(entry, _) => {
            // After an unclosed quote, the entry contains all lines that follow.
            DotenvError::Malformed((read + 1).saturating_sub(entry.lines().count().max(1)))
        }
        dotenvy::Error::Io(error) => DotenvError::Unreadable(error),
        other => DotenvError::Unreadable(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_sets_a_variable_is_found() {
        let text = "\u{feff}A=1\n\n# B=2\n export  B = 3\nA=4\r\nC='x\ny'\n";
        let lines = lines_of(text);
        let of = |name: &str| lines.get(name).copied();
        assert_eq!([of("A"), of("B"), of("C"), of("D")], [Some(1), Some(4), Some(6), None]);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_named_by_its_number() {
        let refused = utf8_of(b"A=1\nB=\xff\nC=\xff".to_vec()).unwrap_err();
        assert_eq!(refused.to_string(), "line 2 of .env: must be UTF-8");
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        for (text, line) in [
            ("A=1\nSERVER PORT=2\nB=3", 2),
            ("A=1\n\nB=a b\n", 3),
            ("# B\nA=1\nB='no end\nC=1\n", 3),
            ("A=a b\nB=a b", 1),
            ("nothing", 1),
        ] {
            let read = Cell::new(0);
            let mut entries = dotenvy::from_read_iter(LineReader { text, read: &read });
            let refused = refused(entries.find_map(Result::err).unwrap(), read.get()).to_string();
            assert!(refused.starts_with(&format!("line {line} of .env: ")), "{text:?}: {refused}");
        }
    }
}
