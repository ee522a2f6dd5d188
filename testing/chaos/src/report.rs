//! What a run reports: its faults, what they led to, and its violations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often something was, by its kind.
pub type Counts = BTreeMap<&'static str, u64>;

/// So many violations are kept: what breaks once often breaks a thousand times.
const VIOLATIONS_MAX: usize = 40;

/// What the report of a run has.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// What was done.
    pub faults: Counts,
    /// What it led to, where that can be read in answers and logs.
    pub effects: Counts,
    /// What was planned and cannot be done on this machine.
    pub skipped: Counts,
    /// The promises that were found broken, and failures of the run itself.
    pub violations: Vec<String>,
}

/// The report of one run. Cheap to clone: all clones are one report.
#[derive(Debug, Clone, Default)]
pub struct Report(Arc<Mutex<Recorded>>);

impl Report {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str) {
        *self.lock().faults.entry(kind).or_default() += 1;
    }

    /// Counts an effect of faults.
    pub fn effect(&self, kind: &'static str) {
        *self.lock().effects.entry(kind).or_default() += 1;
    }

    /// Counts something that cannot be done here.
    pub fn skip(&self, kind: &'static str) {
        *self.lock().skipped.entry(kind).or_default() += 1;
    }

    /// Adds a violation.
    pub fn violation(&self, violation: impl Into<String>) {
        let mut recorded = self.lock();
        if recorded.violations.len() < VIOLATIONS_MAX {
            recorded.violations.push(violation.into());
        }
    }

    /// Whether no violation was found so far.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.lock().violations.is_empty()
    }

    /// A copy of all that was reported so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.lock().clone()
    }

    /// Counts an answer that does less than was asked for; all others are not counted.
    pub fn count_answer(&self, answer: &[u8]) {
        let answer = String::from_utf8_lossy(answer);
        let (kind, rest) = answer.split_once(':').unwrap_or_default();
        let has_status = matches!(kind, "StoreRowsResponse" | "AgencyCloseResponse");
        let could_not = has_status && rest.starts_with("1;") || kind == "Error";
        let refused = has_status && rest.starts_with("2;");
        for (is_so, word, effect) in [
            (could_not, "No space left", "answer 1: disk full"),
            (could_not, "holds the lock", "answer 1: lock held over 5 s"),
            (could_not, "ending", "answer 1: server ends"),
            (could_not, "", "answer 1: other"),
            (refused, ";gap ", "batch refused: rows before it missing"),
            (refused, ";overlap ", "batch refused: stored in part"),
            (refused, ";closed ", "batch refused: closed"),
            (refused, ";drawn ", "batch refused: drawn"),
            (refused, "", "answer 2: other"),
        ] {
            if is_so && rest.contains(word) {
                return self.effect(effect);
            }
        }
    }
}

#[cfg(test)]
impl Report {
    /// The violations since this was asked last.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().violations)
    }

    /// One of the violations since this was asked last has to say what is `wanted`; there are none
    /// if that is empty.
    pub fn assert_found(&self, wanted: &str) {
        let found = self.take_violations();
        let is_found = found.iter().any(|violation| violation.contains(wanted));
        assert!(is_found || wanted.is_empty(), "{wanted:?} in {found:?}");
        assert!(!wanted.is_empty() || found.is_empty(), "{found:?}");
    }
}
