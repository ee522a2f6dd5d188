//! Lines of logs at which a person would look, and which of them a test has provoked.
//!
//! **Invariant**: what a test expects is named by who logs it, its action and its reason, so that
//! nothing else passes for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use harness::log::LogLine;

/// An alarm that is no reason to fail.
struct Known {
    /// How the names of the processes start that may log it: `server`, `client-2`.
    who: String,
    action: String,
    /// What the rest of the line has in it; empty for anything.
    reason: String,
    /// Whether it must be there.
    is_expected: bool,
}

impl Known {
    fn is(&self, name: &str, line: &str) -> bool {
        name.starts_with(&self.who)
            && LogLine(line).field("action") == Some(&self.action)
            && line.contains(&self.reason)
    }
}

/// What a test knows of the alarms that it provokes.
#[derive(Default)]
pub struct KnownAlarms(Vec<Known>);

impl KnownAlarms {
    /// Adds an alarm; one that `is_expected` must be there.
    pub fn add(&mut self, who: &str, action: &str, reason: &str, is_expected: bool) {
        let [who, action, reason] = [who, action, reason].map(str::to_owned);
        self.0.push(Known { who, action, reason, is_expected });
    }

    /// Compares with the logs of all processes that ran in `directory`, whole as they are there.
    pub fn compare(&self, directory: &Path) {
        let alarms = alarms(directory).unwrap();
        for (name, line) in &alarms {
            let is_known = self.0.iter().any(|known| known.is(name, line));
            assert!(is_known, "{name} logged an unexpected alarm: {line}");
        }
        for known in self.0.iter().filter(|known| known.is_expected) {
            let came = alarms.iter().any(|(name, line)| known.is(name, line));
            let Known { who, action, reason, .. } = known;
            assert!(came, "no {who} logged the alarm action: {action} with {reason:?}");
        }
    }
}

/// The alarms of every log in `directory`, each with the name of its process.
fn alarms(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut alarms = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        let (Some(name), Some("log")) = (
            path.file_stem().and_then(|name| name.to_str()),
            path.extension().and_then(|extension| extension.to_str()),
        ) else {
            continue;
        };
        let text = fs::read(&path)?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter(|line| LogLine(line).is_alarm());
        alarms.extend(lines.map(|line| (name.to_owned(), line.to_owned())));
    }
    Ok(alarms)
}
