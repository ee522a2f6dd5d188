//! Connections in one process, with a store that does what the test says.
//!
//! `limits` plays them in memory with paused time, `tcp` on port 0.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod client;
mod limits;
mod memory;
mod scripted;
mod tcp;
