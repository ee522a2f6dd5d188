//! What must hold of whatever stands on the volume and in the settings.
//!
//! A property is a function of one input. Here random inputs and those that once failed are put
//! to it; `fuzz/` puts the same functions to inputs that a fuzzer looks for.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod draws;
mod instance;
mod logs;
mod memory_disk;
#[path = "../../../protocol/tests/properties/records.rs"]
mod records;
mod rings;
mod settings;
