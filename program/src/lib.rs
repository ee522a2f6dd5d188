//! What server, client and cluster share as programs: settings, log lines, signals, exit codes.
//!
//! Knows nothing of bets, packets or files of the volume.

pub mod exit;
pub mod log;
pub mod settings;
pub mod shutdown;
