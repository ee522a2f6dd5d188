//! Connections: accepting them, reading packets, writing answers.
//!
//! Knows streams and time, and no store: what a packet means is decided by
//! [`Lottery`](crate::lottery::Lottery). All limits are in [`limits`].
//!
//! **Invariant**: what one connection does delays only itself. The one thing that connections share
//! is the pool of long packets, and a packet of up to 8 KiB does not need it.

mod connection;
pub mod limits;
mod listener;
mod read_buffer;
mod write_buffer;

pub use connection::{Shared, Transport, serve};
pub use listener::{bind, listen, run};
