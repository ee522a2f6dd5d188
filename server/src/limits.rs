//! Every limit of an instance, derived from one another where one follows from another.
//! The limits of the wire are [`protocol::limits`].

use std::time::Duration;

use protocol::limits::{
    BETS_MAX, CHUNK_BYTES, LINE_BYTES_MAX, LOCK_WAIT_SECONDS_MAX, ROW_EXTRA_BYTES_MAX,
};

/// How long a batch waits for the locks at the most; then it is answered 1 and not stored.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(LOCK_WAIT_SECONDS_MAX);

/// How many calls may wait for the store's thread; all that wait share one lock, one append and one
/// sync.
pub const QUEUE_CALLS_MAX: usize = 1_024;

/// How long a held lock is tried again and again before a thread waits for it: longer than an
/// instance needs it for a group.
pub const LOCK_TRY_TIMEOUT: Duration = Duration::from_micros(200);

/// How often it is seen, while a lock is waited for, whether the instance ends meanwhile.
pub const LOCK_WAIT_STEP: Duration = Duration::from_millis(100);

/// What a call claims of the queue's bytes at least: so many calls fill it, too.
pub const CALL_BYTES_MIN: usize = QUEUE_BYTES_MAX / QUEUE_CALLS_MAX;

/// The longest that a group of batches waits for those that are likely to come at once.
pub const GATHER_TIMEOUT: Duration = Duration::from_millis(5);

/// The most groups that do not wait, after others have waited in vain.
pub const GATHER_RESTS_MAX: u32 = 64;

/// How many bytes of rows may wait for the store's thread, or be worked on by it.
pub const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most of it that the rows of one packet can claim: see
/// [`protocol::WireBets::rows_bytes_max`].
pub const BATCH_BYTES_MAX: usize =
    LINE_BYTES_MAX * 2 + BETS_MAX * ROW_EXTRA_BYTES_MAX + CHUNK_BYTES;

/// The stack of the store's thread, in bytes.
pub const STORE_STACK_BYTES: usize = 256 * 1024;

/// How long a line may take to arrive once it has begun.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may rest between packets. Waiting for the draw is not resting.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How long an answer may take to be taken by the client's side.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection may hold without a slot, in bytes: the start of a packet, or a short one.
pub const REST_BYTES: usize = 512;

/// What a connection may hold of answers without a slot, in bytes: to lines that were refused.
pub const REST_ANSWERS_BYTES: usize = 512;

/// The longest answer to a line that is refused, in bytes.
pub const REFUSAL_BYTES_MAX: usize = 256;

/// What a connection takes without a slot, in bytes: [`REST_BYTES`], [`REST_ANSWERS_BYTES`], its
/// task, what it waits for, and what the allocator loses between those of many. Measured with
/// 10,000 of them, and rounded up.
pub const CONNECTION_BYTES: usize = 4 * 1024;

/// What a connection may hold in an ordinary slot, in bytes: a packet as clients send them if
/// nothing else is set, in one piece.
pub const ORDINARY_SLOT_BYTES: usize = 8 * 1024;

/// How many ordinary slots there are: as many packets as the store takes together.
pub const ORDINARY_SLOTS_MAX: usize = QUEUE_CALLS_MAX;

/// What a connection may hold in a large slot, in bytes: any packet.
pub const LARGE_SLOT_BYTES: usize = LINE_BYTES_MAX;

/// How many large slots there are: more of these packets than the store's queue has room for.
pub const LARGE_SLOTS_MAX: usize = QUEUE_BYTES_MAX / LARGE_SLOT_BYTES;

/// How many more ordinary slots there are for packets that have come in whole.
pub const WHOLE_SLOTS_MAX: usize = ORDINARY_SLOTS_MAX / 4;

/// How long a connection that has a slot may wait for its client while others wait for slots.
/// Much longer than a packet is on its way.
pub const STALL_GRACE: Duration = Duration::from_millis(250);

/// How long a connection waits for a slot; then it is closed. No longer than a packet waits that
/// has one.
pub const SLOT_TIMEOUT: Duration = LOCK_TIMEOUT;

/// How many bytes of answers gather in a slot before they are sent, while more lines wait to be
/// answered: those that are refused, and at most one that was executed. What is executed waits
/// until all answers before are sent.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What refusing a line takes of a processor, in nanoseconds: a short line that is no packet, read,
/// told apart and answered among many. Measured, and rounded up.
pub const REFUSAL_NANOSECONDS: u32 = 2_500;

/// What share of a processor refused lines may take: one part in so many.
pub const REFUSALS_SHARE: u32 = 16;

/// How many lines are refused in a second at the most, over all connections, without the store
/// being asked; more wait. What is left of the processors is for those who store.
pub const REFUSALS_PER_SECOND_MAX: u32 = 1_000_000_000 / REFUSALS_SHARE / REFUSAL_NANOSECONDS;

/// How many of them may come at once: those of a hundredth of a second, so that a timer good to a
/// millisecond is good enough, and one of these serves many lines.
pub const REFUSALS_AT_ONCE_MAX: u32 = REFUSALS_PER_SECOND_MAX / 100;

/// So many bytes of a line that is refused count as a further line: as many as are looked at in
/// [`REFUSAL_NANOSECONDS`], each of them some times over.
pub const REFUSED_BYTES: usize = 1_024;

/// What executing a packet takes of a processor that stores nothing, in nanoseconds: a question, or
/// what is refused, could not be stored or was stored earlier. Measured among many of them, and
/// rounded up.
pub const LOOK_NANOSECONDS: u32 = 45_000;

/// As how many bytes of a refused line such a packet counts in each of its turns. It is answered at
/// once; what comes behind it on its connection waits.
pub const LOOK_BYTES: usize = (TURN_WEIGHT_MAX - 1) as usize * REFUSED_BYTES;

/// For how many turns is waited behind such a packet, one after the other, unless it is the first
/// of its connection: for twice its share of a processor, as it takes locks and rounds of the
/// store's thread from those who store, too. Who comes last may wait for longer than clients wait
/// for an answer; who asks again on a new connection does not.
pub const LOOK_TURNS: u32 = (2 * LOOK_NANOSECONDS / REFUSAL_NANOSECONDS).div_ceil(TURN_WEIGHT_MAX);

/// As how many short lines whatever waits for its turn counts at the most, so that who comes last,
/// behind all connections there may be, has waited no longer than clients wait for an answer.
pub const TURN_WEIGHT_MAX: u32 =
    (REFUSALS_PER_SECOND_MAX - REFUSALS_AT_ONCE_MAX) * TURN_SECONDS_MAX / CONNECTIONS_MAX as u32;

/// How long a turn is waited for at the most.
pub const TURN_SECONDS_MAX: u32 = 10;

/// What the system may keep of a connection in each direction, in bytes, before it has the other
/// side wait: a packet. It takes up to twice as much for its own book-keeping.
pub const SYSTEM_BUFFER_BYTES: usize = LINE_BYTES_MAX;

/// How many connections are served at once, if the system grants so many descriptors.
pub const CONNECTIONS_MAX: usize = 20_000;

/// Descriptors that are kept back from connections: files, sockets, standard streams.
pub const DESCRIPTORS_RESERVED: usize = 64;

/// A quiet peer is probed after this time, and so often…
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// …with this between the probes; after the last one the connection counts as dead.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How many probes may stay unanswered.
pub const KEEPALIVE_PROBES: u32 = 4;

/// An instance that hears nothing looks at the files by itself this often. Losing every datagram
/// delays the winners by no more than this and a look.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The least time between two looks, so that forged datagrams cost little.
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The longest datagram that is looked at, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 64;

/// How long what is in flight may take after SIGTERM.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// How long locks are waited for after SIGTERM: less, so that who waits in vain is answered.
pub const LAST_LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the store's thread waits for the locks when the instance ends, to leave the volume
/// tidy.
pub const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an instance waits after the system refused a new connection, unless one ends first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often it is told at the most that there are as many connections as can be.
pub const CROWD_TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Nothing has failed for so long and something is stored: what could not be stored before, and
/// may never come again, does not count as failing any more. Agencies try again far more often.
pub const TROUBLE_QUIET: Duration = Duration::from_secs(60);

/// How many intents a ring keeps: more than there are instances that may have a group which is
/// written but not yet durable, one each.
pub const INTENTS_MAX: u64 = 256;

/// How many intents are read to learn what was added to a ring that is known.
pub const INTENTS_RECENT: u64 = 8;

/// The highest number of an intent that is read. Nobody counts so far, and whoever goes on from it
/// does not run out of numbers.
pub const INTENT_NUMBER_MAX: u64 = u64::MAX / 2;

/// The stack of a thread that only waits for the system, in bytes.
pub const WAITER_STACK_BYTES: usize = 64 * 1024;

/// How much of a log is read at once, in bytes. A longer line counts as damaged.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// How many threads look for the winners at the most. Each has a block and its own findings.
pub const SCAN_THREADS_MAX: u64 = 8;

/// How much of a log is worth a further thread, in bytes.
pub const SCAN_PART_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The stack of such a thread, in bytes.
pub const SCAN_STACK_BYTES: usize = 64 * 1024;

/// How much is read at once where a line's end is looked for, in bytes.
pub const SCAN_SEEK_BYTES: usize = 4 * 1024;

/// A log that is further behind than this, in bytes, is read without the lock first.
pub const BEHIND_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many damaged lines of a log are told, one by one.
pub const DAMAGED_TOLD_MAX: u64 = 20;

/// How many datagrams that wait already are taken for one hint.
pub const DATAGRAMS_AT_ONCE: usize = 1_024;

/// How long each step of a health check may take: connecting, asking, being answered.
pub const HEALTH_STEP_TIMEOUT: Duration = Duration::from_secs(LOCK_WAIT_SECONDS_MAX + 1);

/// The longest answer that a health check reads, in bytes.
pub const HEALTH_ANSWER_BYTES_MAX: u64 = 1_024;

/// What a slot of so many bytes leads to at the most, in bytes: packets, which are executed where
/// they are, and the answers to them, whose buffer doubles when it grows.
const fn slot_costs(bytes: usize) -> usize {
    bytes + 2 * ANSWER_BYTES_MAX
}

/// What all connections together can claim, in bytes, whatever they send or do not read.
pub const CONNECTIONS_BYTES_MAX: usize = CONNECTIONS_MAX * CONNECTION_BYTES
    + (ORDINARY_SLOTS_MAX + WHOLE_SLOTS_MAX) * slot_costs(ORDINARY_SLOT_BYTES)
    + LARGE_SLOTS_MAX * slot_costs(LARGE_SLOT_BYTES);

/// What reading rows takes at the most, in bytes: a line that is as long as a block, without its
/// quotes and as the wire has it.
const READER_BYTES_MAX: usize = 2 * BLOCK_BYTES;

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

/// What an instance takes at the most, in bytes, whoever does what to it.
pub const INSTANCE_BYTES_MAX: usize = PROGRAM_BYTES + STORE_BYTES_MAX + CONNECTIONS_BYTES_MAX;

const _: () = assert!(INSTANCE_BYTES_MAX <= 128 * 1024 * 1024, "what the documents promise");
const _: () = assert!(REST_BYTES < ORDINARY_SLOT_BYTES && ORDINARY_SLOT_BYTES < LARGE_SLOT_BYTES);
const _: () = assert!(REFUSAL_BYTES_MAX < REST_ANSWERS_BYTES, "some gather before they are sent");
const _: () = assert!(LARGE_SLOT_BYTES >= LINE_BYTES_MAX, "every packet fits a slot");
const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BYTES_MAX, "every batch fits the queue");
const _: () = assert!(QUEUE_BYTES_MAX <= u32::MAX as usize, "a semaphore counts the bytes");
const _: () =
    assert!(TURN_WEIGHT_MAX < REFUSALS_AT_ONCE_MAX, "whatever waits for its turn comes to it");
const _: () = assert!(
    LAST_LOCK_TIMEOUT.as_millis() + LOCK_WAIT_STEP.as_millis() < DRAIN_TIMEOUT.as_millis(),
    "who waits for a lock is answered before the connection is closed"
);
const _: () = assert!(
    DRAIN_TIMEOUT.as_millis() + SETTLE_TIMEOUT.as_millis() < 5_000,
    "SIGTERM ends an instance within 5 s"
);
