//! What agencies and servers agree on: values, packets, framing, rows and their digest.
//!
//! Responsible for every byte that crosses the wire and for every row of `bets.csv`, and for
//! nothing else: this crate does no IO, knows no clock and keeps no state but a half-read line.
//!
//! **Invariant**: a value of a type from here is valid. Text is checked once, where it comes in;
//! whoever holds a [`Bet`], [`WireBets`] or an [`AgencyId`] need not check it again.
//!
//! The rules come from `PROTOCOL.md`, which names each packet, field and limit.

mod bet;
mod bets;
mod digest;
mod frame;
pub mod limits;
mod malformed;
mod plain;
mod plain_row;
mod request;
mod response;
mod row;
mod values;
mod window;

pub use bet::{Bet, Field, InvalidField};
pub use bets::{OwnedBets, WireBets};
pub use digest::{Digest, ParseDigestError};
pub use frame::{Frame, Framed, Framer};
pub use malformed::{Malformed, RequestError};
pub use request::{BatchForm, PacketType, Request, write_rows_packet};
pub use response::{AgencyState, Outcome, Refusal, Response, ResponseError, WINNERS_HEAD};
pub use row::{DamagedRow, RowReader, StoredRow, write_row};
pub use values::{AgencyId, BetNumber, InvalidValue};
