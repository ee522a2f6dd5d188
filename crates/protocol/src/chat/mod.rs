//! The packets of messages: what participants send, and what they get.
//!
//! They share port and framing with the packets of bets, and begin with `Chat`. A text is the last
//! field of its packet, so it may contain `;` and `:`.

mod request;
mod response;
pub mod ticket;
mod values;

pub use request::{ChatError, ChatPacket, ChatRequest};
pub use response::{ChatOutcome, ChatRefusal, ChatResponse, Joined, Kind, Message};
pub use values::{DirectAddress, Key, MessageText, Name};
