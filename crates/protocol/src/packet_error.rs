//! Lines that are no packet, and what is answered to them.

use crate::request::{PacketType, split_type};
use crate::response::{Refusal, Response};
use crate::{Field, limits};

/// Why a packet of a known type is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The text is not UTF-8.
    #[error("the packet is not UTF-8")]
    NotUtf8,
    /// The line is longer than a packet may be.
    #[error("the packet is longer than {} bytes", limits::LINE_BYTES_MAX)]
    TooLong,
    /// The agency is no agency number.
    #[error("the agency is not a number from 1 to {}", limits::AGENCIES_MAX)]
    Agency,
    /// The packet has too few or too many fields.
    #[error("bet {bet} has {fields} fields instead of {}", Field::ALL.len())]
    Fields {
        /// Which bet of the packet, from 1.
        bet: usize,
        /// How many fields it has.
        fields: usize,
    },
    /// A field of a bet breaks its rule.
    #[error("bet {bet}: {field} is not {allowed}")]
    Bet {
        /// Which bet of the packet, from 1.
        bet: usize,
        /// Which field it is.
        field: Field,
        /// What is allowed there.
        allowed: &'static str,
    },
    /// The packet has more than the one bet that it may have.
    #[error("the packet holds {bets} bets instead of one")]
    Bets {
        /// How many it has.
        bets: usize,
    },
    /// There is no bet in the packet.
    #[error("the packet holds no bet")]
    NoBets,
    /// The first row or the count of rows is no number.
    #[error("{what} is not a row number in plain digits")]
    Row {
        /// What should have been a number.
        what: &'static str,
    },
}

/// A line that is no packet, and what to answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The type is not known.
    Unknown,
    /// The type is known, the rest is wrong.
    Packet(PacketType, RequestError),
}

impl Malformed {
    /// What an over-long line was meant to be, from its first bytes.
    #[must_use]
    pub fn too_long(head: &[u8]) -> Self {
        match split_type(head).and_then(|(name, body)| PacketType::of(name, body)) {
            Some(packet) => Self::Packet(packet, RequestError::TooLong),
            None => Self::Unknown,
        }
    }

    /// Whether the server closes the connection after the answer.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Packet(packet, _) if packet.ends_connection())
    }

    /// The answer to such a line.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::Unknown => Response::Error("unknown packet".to_owned()),
            Self::Packet(packet, error @ RequestError::Agency) => {
                packet.refuse(Refusal::Agency, error)
            }
            Self::Packet(packet, error) => packet.refuse(Refusal::Invalid, error),
        }
    }
}
