//! The limits of an instance, derived from one another where one follows from another. Those of
//! connections are [`crate::net::limits`], those of a log [`journal::limits`], those of the wire
//! [`protocol::limits`].

use std::time::Duration;

use journal::limits::{BLOCK_BYTES, LOCK_WAIT_STEP, SCAN_STACK_BYTES, SCAN_THREADS_MAX};
use messages::limits::{MESSAGES_MAX, PARTICIPANTS_MAX};
use protocol::limits::{
    BETS_MAX, CHUNK_BYTES, LINE_BYTES_MAX, LOCK_WAIT_SECONDS_MAX, MESSAGE_BYTES_MAX,
    ROW_EXTRA_BYTES_MAX,
};

/// How long a batch waits for the locks at the most; then it is answered 1 and not stored.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(LOCK_WAIT_SECONDS_MAX);

/// How long what is in flight may take after SIGTERM.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// How many requests may wait for the store's thread. All that wait share one lock, one append and
/// one sync.
pub const QUEUE_REQUESTS_MAX: usize = 1_024;

/// What a request claims of the queue's bytes at least, so that [`QUEUE_REQUESTS_MAX`] requests fill
/// it, too.
pub const REQUEST_BYTES_MIN: usize = QUEUE_BYTES_MAX / QUEUE_REQUESTS_MAX;

/// The longest that a group of batches waits for those that are likely to come at once.
pub const COMMIT_DELAY_MAX: Duration = Duration::from_millis(5);

/// A group of so many requests is not delayed: they share its sync already, and while it is synced
/// others are read. Measured with 5, 9 and 16 agencies.
pub const COMMIT_DELAY_REQUESTS_MAX: usize = 6;

/// How many bytes of bets and their rows may wait for the store's thread, or be worked on by it.
pub const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most of it that one packet can claim, for its bets and for their rows: see
/// [`protocol::WireBets::rows_bytes_max`].
pub const BATCH_BYTES_MAX: usize =
    LINE_BYTES_MAX * 3 + BETS_MAX * ROW_EXTRA_BYTES_MAX + CHUNK_BYTES;

/// The stack of the store's thread, in bytes.
pub const STORE_STACK_BYTES: usize = 256 * 1024;

/// An instance that hears nothing looks at the files by itself this often. Losing every datagram
/// delays the winners by no more than this and a look.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The least time between two looks, so that forged datagrams cost little.
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The longest datagram that is looked at, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 64;

/// How long `server drain` waits for an instance to end.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(6);

/// How long locks are waited for after SIGTERM: less, so that a client that waits for a lock is still
/// answered.
pub const LAST_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the store's thread waits for the locks when the instance ends, to leave the volume
/// tidy.
pub const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

/// Nothing has failed for so long and something is stored: what could not be stored before, and
/// may never come again, does not count as failing any more. Agencies try again far more often.
pub const OUTAGE_QUIET: Duration = Duration::from_secs(60);

/// How many datagrams that wait already are taken for one hint.
pub const DATAGRAMS_AT_ONCE: usize = 1_024;

/// How long each step of a health check may take: connecting, asking, being answered.
pub const HEALTH_STEP_TIMEOUT: Duration = Duration::from_secs(LOCK_WAIT_SECONDS_MAX + 1);

/// The longest answer that a health check reads, in bytes.
pub const HEALTH_ANSWER_BYTES_MAX: u64 = 1_024;

/// What reading rows takes at the most, in bytes: a line that is as long as a block, without its
/// quotes and as the wire has it.
const READER_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// How many messages a second one participant may send; then the next one waits.
pub const SENDER_MESSAGES_A_SECOND: u32 = 5;

/// How many messages a second an instance stores; then the next one waits.
pub const INSTANCE_MESSAGES_A_SECOND: u32 = 200;

/// How often it is looked who does not read any more.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// After so many looks at who is online it is looked whether the other instances live.
pub const PRESENCE_LOOKS: u32 = 5;

/// How long a ticket is right, in seconds: enough for a connection, and for clocks that differ.
pub const TICKET_SECONDS: u64 = 60;

/// The least time between two looks for messages that datagrams ask for.
pub const MESSAGE_LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How many commands and reads may wait for the messages' thread.
pub const MESSAGES_AT_ONCE: usize = 256;

/// How many lines one read is answered with at the most: what a client that does not take them
/// keeps in memory.
pub const ANSWER_LINES_MAX: usize = 16;

/// How many connections may have lines at once that were read from the file.
pub const HISTORY_READS_MAX: usize = 64;

/// How many of the last messages are kept in memory, for those who wait for them.
pub const RECENT_LINES: usize = 256;

/// What messages take at the most, in bytes: each participant some hundred, the place of each
/// message, a message of each who waits, and those that are kept.
pub const MESSAGES_BYTES_MAX: usize = PARTICIPANTS_MAX * 384
    + MESSAGES_MAX as usize * 8
    + (MESSAGES_AT_ONCE + RECENT_LINES + HISTORY_READS_MAX * ANSWER_LINES_MAX)
        * 2
        * MESSAGE_BYTES_MAX
    + 2 * BLOCK_BYTES;

/// What the store takes at the most, in bytes: the queue, the group that is written from it, a
/// block for each log and one for mending, what reads the bets' rows, and the draw's threads. What
/// it keeps of each agency comes on top: some tens of bytes.
pub const STORE_BYTES_MAX: usize = 2 * QUEUE_BYTES_MAX
    + 3 * BLOCK_BYTES
    + READER_BYTES_MAX
    + SCAN_THREADS_MAX as usize * (BLOCK_BYTES + READER_BYTES_MAX + SCAN_STACK_BYTES);

/// What the program takes before anything is asked of it, in bytes: its code, its threads, the
/// runtime. Measured, and rounded up.
pub const PROGRAM_BYTES: usize = 8 * 1024 * 1024;

const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BYTES_MAX, "every batch fits the queue");
const _: () = assert!(QUEUE_BYTES_MAX <= u32::MAX as usize, "a semaphore counts the bytes");
const _: () = assert!(
    LAST_LOCK_TIMEOUT.as_millis() + LOCK_WAIT_STEP.as_millis() < DRAIN_TIMEOUT.as_millis(),
    "a client that waits for a lock is answered before its connection is closed"
);
const _: () = assert!(
    DRAIN_TIMEOUT.as_millis() + SETTLE_TIMEOUT.as_millis() < 5_000,
    "SIGTERM ends an instance within 5 s"
);
