//! An instance of the lottery's server.
//!
//! Bytes become lines, lines become requests, requests are executed and become responses. What
//! executes a request ([`lottery`]) never sees a socket; what stores bets ([`store`]) never sees
//! a packet. `ARCHITECTURE.md` has the map.

pub mod announce;
pub mod chat;
mod cli;
mod health;
pub mod limits;
pub mod lottery;
pub mod metrics;
pub mod net;
mod prepare;
pub mod settings;
pub mod store;
pub mod watch;
#[cfg(test)]
mod watch_tests;

pub use cli::main;
