//! What all programs of the project share: settings, log lines, signals, exit codes, and the
//! system's options for sockets and descriptors.
//!
//! Must not know bets, packets or the files of the volume.

pub mod descriptors;
pub mod dotenv;
pub mod exit;
mod limits;
pub mod log;
pub mod settings;
pub mod shutdown;
pub mod socket;
mod warning_limiter;
