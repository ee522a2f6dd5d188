//! What must hold of whatever stands in a client's files and of whatever servers answer.
//!
//! A property is a function of one input. Here random inputs and those that once failed are put
//! to it; `testing/fuzz` puts the same functions to inputs that a fuzzer looks for.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod answers;
pub mod bets;
pub mod settings;
