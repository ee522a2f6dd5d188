//! Every limit of the client, derived from one another where one follows from another.
//! The limits of the wire are [`protocol::limits`].

use std::time::Duration;

use protocol::limits::{
    BET_BYTES_MAX, BETS_MAX, LINE_BYTES_MAX, LOCK_WAIT_SECONDS_MAX, ROWS_HEAD_BYTES_MAX,
};

/// The smallest limit of a packet that any one bet fits, in bytes.
pub const PACKET_BYTES_MIN: usize = ROWS_HEAD_BYTES_MAX + BET_BYTES_MAX + 1;

/// The most bytes in a packet, unless the settings say otherwise.
pub const PACKET_BYTES_DEFAULT: usize = 8 * 1024;

/// The most bets that a packet can hold.
pub const PACKET_BETS_MAX: usize = BETS_MAX;

/// The most bets in a packet, unless the settings say otherwise.
pub const PACKET_BETS_DEFAULT: usize = 100;

/// The longest time that any setting may name: a day.
pub const SETTING_SECONDS_MAX: u64 = 24 * 60 * 60;

/// The least that a server may be given to answer: a client that waits no longer than a server
/// waits for its locks would leave servers that are merely busy.
pub const ANSWER_SECONDS_MIN: u64 = LOCK_WAIT_SECONDS_MAX + 1;

/// How long a look-up and a connection may take, unless the settings say otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take, unless the settings say otherwise.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nothing may go on, unless the settings say otherwise.
pub const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one server is waited at for the draw, unless the settings say otherwise.
pub const WINNERS_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause after a first failure; it doubles with each further one…
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// …up to this.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often in a row a server may say that it could not before another is asked.
pub const BUSY_ANSWERS_MAX: u32 = 3;

/// How many connections in a row a server must close on `AgencyStatus` without a byte before it is
/// taken for one that does not know it…
pub const OLD_CLOSES_MIN: usize = 3;
/// …and how many servers must do so, if so many are there, before bets go by `StoreBatch`.
pub const OLD_SERVERS_MIN: usize = 3;

/// For how long that must go on at each, without anything else between: a server that was killed is
/// back by then, more often, and whatever stands before it closes no more connections in its place.
pub const OLD_TIMEOUT: Duration = Duration::from_secs(3);

/// A peer that is silent is probed after this time…
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
/// …and again after each of these; after the last one the connection counts as dead.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How many probes may stay unanswered.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How many bytes of an answer are read at once.
pub const ANSWER_READ_BYTES: usize = 16 * 1024;

/// The longest `WinnersResponse` that is taken for an agency whose rows are not known, in bytes.
pub const WINNERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an answer in flight is waited for after a signal.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many bytes of a file of bets are read at once.
pub const FILE_READ_BYTES: usize = 256 * 1024;

/// How many bad lines of a file are told one by one; the rest is counted.
pub const BAD_LINES_TOLD_MAX: usize = 100;

/// How much of a wrong value is told.
pub const TOLD_VALUE_CHARS_MAX: usize = 40;

/// The most bets that are made up for an agency: so many documents there are.
pub const GENERATED_ROWS_MAX: u64 = 40_000_000;

/// How long others may take to choose a number before this client gives up.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the lock on the claims is tried again: `flock` has no time limit of its own.
pub const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// How long the search for this container's name may take before the client goes on without.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a query that has no answer is sent again.
pub const NAME_QUERY_INTERVAL: Duration = Duration::from_millis(500);

/// The longest answer that a resolver sends by UDP to such a query (RFC 1035, 2.3.4), in bytes.
pub const NAME_ANSWER_BYTES_MAX: usize = 512;

/// The most addresses of its own for which a container asks; it has one in each network.
pub const OWN_ADDRESSES_MAX: usize = 4;

/// How much of a claim's record is read.
pub const CLAIM_RECORD_BYTES_MAX: u64 = 1024;

const _: () = assert!(
    PACKET_BYTES_MIN <= PACKET_BYTES_DEFAULT && PACKET_BYTES_DEFAULT <= LINE_BYTES_MAX,
    "the default is allowed, and every server takes it"
);
const _: () = assert!(PACKET_BETS_DEFAULT <= PACKET_BETS_MAX, "the default is allowed");
const _: () = assert!(ANSWER_SECONDS_MIN > LOCK_WAIT_SECONDS_MAX, "a busy server is waited for");
const _: () = assert!(ANSWER_TIMEOUT.as_secs() >= ANSWER_SECONDS_MIN, "the default is allowed");
const _: () = assert!(GIVE_UP_TIMEOUT.as_secs() <= SETTING_SECONDS_MAX, "the default is allowed");
const _: () = assert!(
    GIVE_UP_TIMEOUT.as_secs() > CONNECT_TIMEOUT.as_secs() + ANSWER_TIMEOUT.as_secs(),
    "one server that hangs does not make a client give up"
);
const _: () = assert!(PAUSE_MIN.as_millis() <= PAUSE_MAX.as_millis(), "pauses grow");
const _: () = assert!(
    OLD_TIMEOUT.as_secs() < GIVE_UP_TIMEOUT.as_secs(),
    "old servers are known for such before a client gives up"
);
const _: () = assert!(SHUTDOWN_TIMEOUT.as_secs() < 5, "SIGTERM ends a client within 5 s");
