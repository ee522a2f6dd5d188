//! An instance of the lottery's server.
//!
//! Bytes become lines, lines become requests, requests are executed and become responses. What
//! executes a request ([`lottery`]) never sees a socket; what stores bets ([`store`]) never sees
//! a packet. `ARCHITECTURE.md` has the map.

pub mod announce;
mod cli;
mod connection;
pub mod draw;
mod health;
mod input;
pub mod limits;
pub mod lottery;
pub mod metrics;
mod output;
mod pace;
mod prepare;
pub mod serve;
pub mod settings;
mod slots;
pub mod store;
pub mod watch;

pub use cli::main;
