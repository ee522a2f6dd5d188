//! What clients and servers agree on: values, packets, framing, rows and their digest. Each packet
//! is defined here once, for both.
//!
//! Responsible for the bytes on the wire and for the rows of `bets.csv`, by the rules of
//! `docs/PROTOCOL.md`. Does no IO, knows no clock, and has no state except a partly read line.
//!
//! **Invariant**: a value of these types is valid. Text is checked once, where it is read, so that
//! a [`Bet`], [`WireBets`] or [`AgencyId`] needs no further check.

mod bet;
mod bets;
mod body_error;
mod canonical_bet;
mod canonical_row;
pub mod chat;
mod digest;
mod frame;
pub mod limits;
mod request;
mod response;
mod row;
mod simd;
mod values;

pub use bet::{Bet, Field, InvalidField};
pub use bets::{OwnedBets, WireBets};
pub use body_error::BodyError;
pub use digest::{Digest, ParseDigestError};
pub use frame::{Frame, Framed, Framer};
pub use request::{BatchForm, PacketError, PacketType, Request, write_rows_packet};
pub use response::{AgencyState, Outcome, Refusal, Response, ResponseError, WINNERS_HEAD};
pub use row::{DamagedRow, RowReader, StoredRow, write_row};
pub use values::{AgencyId, BetNumber, InvalidValue};
