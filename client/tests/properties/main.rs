//! Properties of what a client reads: its files and the servers' answers.
//!
//! A property is a function of one input. These tests call it with random inputs and with inputs
//! that failed once; `testing/fuzz` calls it with a fuzzer's inputs.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod answers;
pub mod bets;
pub mod settings;
