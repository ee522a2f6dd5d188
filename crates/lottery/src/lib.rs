//! The rules of the lottery: what is stored of each agency, what is done with a batch or a close,
//! and who wins.
//!
//! Pure: no IO, no clock, no store, no log lines. Every store decides with [`Plan`] and applies to
//! [`State`], so that all of them agree.
//!
//! **Invariant**: the same rows and closes in the same order give the same state, and the same
//! rows and number give the same winners.

mod draw;
mod state;

pub use draw::Winners;
pub use state::{AgencyRows, AgencyStatus, BatchHead, Decision, Plan, State};
