//! How many faults there were of each kind.

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

    /// All counts.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
