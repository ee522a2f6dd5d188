//! Why the body of a packet is wrong.

use crate::{Field, limits};

/// Why the body of a packet of a known type is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not UTF-8.
    #[error("the packet is not UTF-8")]
    NotUtf8,
    /// The line is longer than a packet may be.
    #[error("the packet is longer than {} bytes", limits::LINE_BYTES_MAX)]
    TooLong,
    /// The agency is not an agency number.
    #[error("the agency is not a number from 1 to {}", limits::AGENCIES_MAX)]
    Agency,
    /// A bet has too few or too many fields.
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
    /// The packet may have one bet only, and has more.
    #[error("the packet holds {bets} bets instead of one")]
    Bets {
        /// How many it has.
        bets: usize,
    },
    /// The packet has no bet.
    #[error("the packet holds no bet")]
    NoBets,
    /// The first row or the row count is not a number.
    #[error("{what} is not a row number in plain digits")]
    Row {
        /// What should have been a number.
        what: &'static str,
    },
}
