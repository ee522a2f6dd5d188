//! What must hold of whatever stands on the volume and in the settings.
//!
//! A property is a function of one input. Here random inputs and those that once failed are put
//! to it; `testing/fuzz` puts the same functions to inputs that a fuzzer looks for.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod days;
pub mod draws;
pub mod instance;
pub mod logs;
pub mod memory_disk;
#[path = "../../../crates/protocol/tests/properties/records.rs"]
pub mod records;
pub mod rings;
pub mod settings;
