//! How much one day may have.

/// How many names may be taken: each takes some hundred bytes of memory.
pub const PARTICIPANTS_MAX: usize = 10_000;

/// How many lines the log may have for a message to be stored. Joins, leaves and events, which no
/// participant can send at will, are stored all the same.
pub const MESSAGES_MAX: u64 = 100_000;

/// How many lines the log may have at all: no name joins then. Positions are kept in 32 bits.
pub const LINES_MAX: u64 = 10 * MESSAGES_MAX;
