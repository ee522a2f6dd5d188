//! How many faults there were of each kind, what they led to, and what is not right.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by kind. Cheap to clone: all clones are one count.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    /// One more of `kind`.
    pub fn add(&self, kind: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// One more answer that does less than was asked for; all others are not counted.
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
                return self.add(effect);
            }
        }
    }

    /// Whether there was any of `kind`.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.counts().contains_key(kind)
    }

    /// All counts.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All counts of a run.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    /// What was done.
    pub faults: Tally,
    /// What it led to.
    pub effects: Tally,
    /// What was to be done, and cannot be here.
    pub skipped: Tally,
}

/// What is not right, as it is found. Cheap to clone: all clones are one list.
#[derive(Debug, Clone, Default)]
pub struct Findings(Arc<Mutex<Vec<String>>>);

/// So many are told; what breaks once often breaks a thousand times.
const FINDINGS_MAX: usize = 40;

impl Findings {
    /// One more.
    pub fn add(&self, finding: impl Into<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < FINDINGS_MAX {
            all.push(finding.into());
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
