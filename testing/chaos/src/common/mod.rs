//! What both environments of chaos have in common: what is done and found in a run, and the checks of
//! what it leaves.
//!
//! `run_context` is where a run leaves its files and what it found, `tally` counts, `summary` shows;
//! `checks` compares with what must come out by the files of bets. Knows no process, container or
//! proxy.
//!
//! **Invariant**: a difference that a check finds is among the findings, and a run with any finding is
//! not right.

pub mod checks;
pub mod run_context;
pub mod summary;
pub mod tally;

#[cfg(test)]
pub mod correct_lottery;

/// The number that wins in all runs.
pub const WINNER: u16 = 7574;

/// A digest of all of `plans`, by their decisions.
#[cfg(test)]
pub fn fingerprint<T: std::fmt::Debug>(plans: impl Iterator<Item = T>) -> String {
    let text: String = plans.map(|plan| format!("{plan:?}\n")).collect();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
