//! The harness of all tests and measurements with real processes.
//!
//! Starts servers and clients with their settings, follows their logs, and ends them; knows the
//! names of the files of a volume. It judges nothing, and knows no code of server or client.
//!
//! **Invariant**: no process outlives the one that started it, and every wait is for an
//! event with a deadline.

pub mod bets_dir;
pub mod client_process;
pub mod cluster;
pub mod command;
pub mod directory;
pub mod log;
pub mod numbers;
pub mod process;
#[cfg(feature = "testing")]
pub mod processes;
pub mod raw_connection;
#[cfg(feature = "testing")]
pub mod rng;
pub mod server_process;
pub mod terminal;
pub mod udp_port;
pub mod volume;
