//! Every limit of the client, derived from one another where one follows from another.
//! The limits of the wire are in [`protocol::limits`].

use std::time::Duration;

use protocol::limits::{
    BET_BYTES_MAX, BETS_MAX, LINE_BYTES_MAX, LOCK_WAIT_SECONDS_MAX, ROWS_HEAD_BYTES_MAX,
};

/// The smallest packet limit into which any one bet fits, in bytes.
pub const PACKET_BYTES_MIN: usize = ROWS_HEAD_BYTES_MAX + BET_BYTES_MAX + 1;

/// The default limit of a packet, in bytes.
pub const PACKET_BYTES_DEFAULT: usize = 8 * 1024;

/// The most bets in a packet.
pub const PACKET_BETS_MAX: usize = BETS_MAX;

/// The default limit of the bets in a packet.
pub const PACKET_BETS_DEFAULT: usize = 100;

/// The longest time that a setting may give: a day.
pub const SETTING_SECONDS_MAX: u64 = 24 * 60 * 60;

/// The shortest answer timeout that a setting may give. A shorter one would leave servers that only
/// wait for their locks.
pub const ANSWER_SECONDS_MIN: u64 = LOCK_WAIT_SECONDS_MAX + 1;

/// The default timeout of a look-up and of a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The default timeout of an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The default time without progress after which the client gives up.
pub const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(120);

/// The default time for which the client waits for the draw at one server.
pub const WINNERS_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause after a first failure. It doubles with each consecutive failure…
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// …up to this.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// After this many consecutive answers that the server could not, the client asks another server.
pub const BUSY_ANSWERS_MAX: u32 = 3;

/// A server is taken for a legacy server after it closed this many consecutive connections on
/// `AgencyStatus` without a byte…
pub const LEGACY_CLOSES_MIN: usize = 3;
/// …and the fallback starts when this many servers, or all that are reachable, are legacy servers.
pub const LEGACY_SERVERS_MIN: usize = 3;

/// For how long each server must close connections. A server that was killed has mostly started
/// again by then, and a proxy no longer closes connections in its place.
pub const LEGACY_DETECTION_TIME: Duration = Duration::from_secs(3);

/// A peer that is silent is probed after this time…
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
/// …and again after each of these. After the last one the connection counts as broken.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How many probes may stay unanswered.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How many bytes of an answer are read at once.
pub const ANSWER_READ_BYTES: usize = 16 * 1024;

/// The longest `WinnersResponse` for an agency whose row count is not known, in bytes.
pub const WINNERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long the client waits for an answer after a signal.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many bytes of a file of bets are read at once.
pub const FILE_READ_BYTES: usize = 256 * 1024;

/// How many bad lines of a file are reported one by one. Further ones are counted.
pub const BAD_LINES_SHOWN_MAX: usize = 100;

/// How much of a wrong value a message shows, in characters.
pub const SHOWN_VALUE_CHARS_MAX: usize = 40;

/// The most generated bets of an agency: the number of different documents.
pub const GENERATED_ROWS_MAX: u64 = 40_000_000;

/// How long the client waits while other clients claim their numbers.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the client tries the lock on the claims: `flock` has no timeout.
pub const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// How long the client searches for its container's name before it continues without one.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a query without an answer is sent again.
pub const NAME_QUERY_INTERVAL: Duration = Duration::from_millis(500);

/// The longest UDP answer to such a query, in bytes (RFC 1035, 2.3.4).
pub const NAME_ANSWER_BYTES_MAX: usize = 512;

/// For how many of its own addresses a container asks. It has one in each network.
pub const OWN_ADDRESSES_MAX: usize = 4;

/// How much of a claim's record is read, in bytes.
pub const CLAIM_RECORD_BYTES_MAX: u64 = 1024;

const _: () = assert!(
    PACKET_BYTES_MIN <= PACKET_BYTES_DEFAULT && PACKET_BYTES_DEFAULT <= LINE_BYTES_MAX,
    "the default is allowed, and every server accepts it"
);
const _: () = assert!(PACKET_BETS_DEFAULT <= PACKET_BETS_MAX, "the default is allowed");
const _: () =
    assert!(ANSWER_SECONDS_MIN > LOCK_WAIT_SECONDS_MAX, "a server may wait for its locks");
const _: () = assert!(ANSWER_TIMEOUT.as_secs() >= ANSWER_SECONDS_MIN, "the default is allowed");
const _: () = assert!(GIVE_UP_TIMEOUT.as_secs() <= SETTING_SECONDS_MAX, "the default is allowed");
const _: () = assert!(
    GIVE_UP_TIMEOUT.as_secs() > CONNECT_TIMEOUT.as_secs() + ANSWER_TIMEOUT.as_secs(),
    "a client does not give up because of one server that hangs"
);
const _: () = assert!(PAUSE_MIN.as_millis() <= PAUSE_MAX.as_millis(), "pauses grow");
const _: () = assert!(
    LEGACY_DETECTION_TIME.as_secs() < GIVE_UP_TIMEOUT.as_secs(),
    "legacy servers are detected before the client gives up"
);
const _: () = assert!(SHUTDOWN_TIMEOUT.as_secs() < 5, "SIGTERM ends a client within 5 s");
