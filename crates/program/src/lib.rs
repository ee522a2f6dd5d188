//! What server, client and cluster share as programs: settings, log lines, signals, exit codes,
//! and what they ask of the system for their sockets and descriptors.
//!
//! Knows nothing of bets, packets or files of the volume.

pub mod descriptors;
pub mod dotenv;
pub mod exit;
mod floods;
mod limits;
pub mod log;
pub mod settings;
pub mod shutdown;
pub mod socket;
