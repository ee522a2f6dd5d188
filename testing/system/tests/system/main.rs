//! Servers and clients as real processes, over real files and sockets.
//!
//! One program, because each links the whole workspace. `cargo test -p system NAME` runs the tests
//! of one module.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod client_log;
mod clients;
mod common;
mod draw;
mod full_disk;
mod lock_files;
mod messages;
mod mixed_versions;
mod other_system;
mod page;
mod programs;
mod protocol_examples;
mod recovery;
mod scripts;
mod store;
mod wire;
