//! The rules of messages: who is who, in which order everything was said, and who reads what.
//!
//! All lines stand in one log. Its state is a fold over the lines; a [`GroupPlan`] decides what a group
//! of commands appends to it. Does no IO, knows no clock, no connection and no file.
//!
//! **Invariant**: a line's place in the log is its position, the same for everyone, and positions
//! have no gaps. Of each participant the messages are numbered from 1, and stand in that order.

pub mod limits;
mod line;
mod plan;
mod reader;
mod state;

pub use line::{Line, LineKind};
pub use plan::{Command, Decision, GroupPlan, Join};
pub use reader::message_for;
pub use state::{Online, Participant, State, View};
