//! What every trial of the system has in common, whoever holds it: runs that follow from a seed,
//! what is done and found in them, and the verdict on what they leave.
//!
//! `dice` decides, `scene` is where a run leaves its files and what it found, `tally` counts,
//! `summary` tells; `expected` is what must come out by the files of bets, and `verdict` compares
//! with it. Knows none of those that use it, and no process, container or proxy.
//!
//! **Invariant**: a difference that a verdict comes upon is among the findings, and a run with any
//! finding is not right.

pub mod scene;
pub mod summary;
pub mod tally;
pub mod verdict;

#[cfg(test)]
pub mod right_day;

/// The number that wins in all runs.
pub const WINNER: u16 = 7574;

/// A digest of all of `plans`, by their decisions.
#[cfg(test)]
pub fn fingerprint<T: std::fmt::Debug>(plans: impl Iterator<Item = T>) -> String {
    let text: String = plans.map(|plan| format!("{plan:?}\n")).collect();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
