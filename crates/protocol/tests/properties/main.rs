//! Properties of the packets and of `bets.csv`, for any bytes.
//!
//! A property is a function of one input. Here random inputs and those that once failed are put
//! to it; `testing/fuzz` puts the same functions to inputs that a fuzzer looks for.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod framing;
pub mod records;
pub mod requests;
pub mod responses;
pub mod rows;
