//! What a run reports: its faults and its violations.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often something was, by its kind.
pub type Counts = BTreeMap<&'static str, u64>;

/// So many violations are kept: what breaks once often breaks a thousand times.
const VIOLATIONS_MAX: usize = 40;

/// What the report of a run has.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The faults that were caused.
    pub faults: Counts,
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

    /// The value of `result`; an error is a violation, and gives the default.
    pub fn value_of<T: Default>(&self, result: Result<T, impl Display>) -> T {
        result.unwrap_or_else(|error| {
            self.violation(format!("{error:#}"));
            T::default()
        })
    }

    /// Whether a violation was found so far.
    #[must_use]
    pub fn has_violations(&self) -> bool {
        !self.lock().violations.is_empty()
    }

    /// A copy of all that was reported so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.lock().clone()
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
