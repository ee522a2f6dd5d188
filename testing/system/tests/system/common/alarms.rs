//! Lines of logs at which a person would look, and which of them a test has provoked.
//!
//! **Invariant**: what a test expects is named by who logs it, its action and its reason, so that
//! nothing else passes for it.

use std::fs;
use std::path::Path;

use harness::log::LogLine;

/// An alarm that is no reason to fail.
pub struct Known {
    /// How the names of the processes start that may log it: `server`, `client-2`.
    who: String,
    action: String,
    /// What the rest of the line has in it; empty for anything.
    reason: String,
    /// Whether it must be there.
    is_expected: bool,
}

impl Known {
    pub fn new(who: &str, action: &str, reason: &str, is_expected: bool) -> Self {
        let [who, action, reason] = [who, action, reason].map(str::to_owned);
        Self { who, action, reason, is_expected }
    }

    fn is(&self, name: &str, line: &str) -> bool {
        name.starts_with(&self.who)
            && LogLine(line).field("action") == Some(&self.action)
            && line.contains(&self.reason)
    }
}

/// Compares with the logs of all processes that ran in `directory`, whole as they are there.
pub fn compare(known: &[Known], directory: &Path) {
    let mut has_come = vec![false; known.len()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let (name, text) = (path.file_stem().unwrap().to_string_lossy(), fs::read(&path).unwrap());
        let text = String::from_utf8_lossy(&text);
        for line in text.lines().filter(|line| LogLine(line).is_alarm()) {
            let is: Vec<bool> = known.iter().map(|known| known.is(&name, line)).collect();
            assert!(is.contains(&true), "{name} logged an unexpected alarm: {line}");
            has_come.iter_mut().zip(is).for_each(|(has_come, is)| *has_come |= is);
        }
    }
    for (Known { who, action, reason, is_expected }, has_come) in known.iter().zip(has_come) {
        let is_right = has_come || !is_expected;
        assert!(is_right, "no {who} logged the alarm action: {action} with {reason:?}");
    }
}
