//! A locked, durable, append-only log of lines on files that several processes share.
//!
//! It does not know what the lines mean, and it logs nothing: taking the lock returns what it found
//! ([`Found`]), and the caller decides what an operator has to know.
//!
//! **Invariant**: a group of lines is in the log whole or not at all, also when its writer or the
//! machine dies, and it is durable when [`Log::sync`] returns. Only the holder of the lock writes.

pub mod disk;
mod error;
mod intents;
pub mod limits;
mod lines;
mod lock;
mod lock_check;
mod lock_files;
mod log;
mod scan;
pub mod whole_file;

pub use error::JournalError;
pub use lock::{LockError, WaitEnd};
pub use lock_check::locks_work;
pub use lock_files::LogPaths;
pub use log::{Cut, Damaged, ExternalChange, Fold, Found, Locked, Log, OthersWrite};
pub use scan::{scan, threads_for};
