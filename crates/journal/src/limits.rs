//! Every limit of a log.

use std::time::Duration;

/// How long a held lock is tried again without a pause: longer than a process needs it for a group.
pub const LOCK_TRY_TIMEOUT: Duration = Duration::from_micros(200);

/// The longest pause between two tries to take a lock: so late at most does a waiter find that the
/// lock is free, or that the process is shutting down.
pub const LOCK_WAIT_STEP: Duration = Duration::from_millis(10);

/// The stack of a thread that only waits for the system, in bytes.
pub const WAITER_STACK_BYTES: usize = 64 * 1024;

/// How many intents a ring keeps: more than there are processes that may have a group which is
/// written but not yet durable, one each.
pub const INTENTS_MAX: u64 = 256;

/// How many intents are read to learn what was added to a ring that is known.
pub const INTENTS_RECENT: u64 = 8;

/// The highest number of an intent that is read. No process counts so far, and one that continues
/// from it does not run out of numbers.
pub const INTENT_NUMBER_MAX: u64 = u64::MAX / 2;

/// How much of a log is read at once, in bytes. A longer line counts as damaged.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// How much of a log is read at once by who wants a few lines, in bytes.
pub const READ_BYTES: u64 = 64 * 1024;

/// A log that is further behind than this, in bytes, is read without the lock first.
pub const BEHIND_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many damaged lines of a log are reported, one by one.
pub const DAMAGED_REPORTED_MAX: u64 = 20;

/// How many threads a scan has at the most. Each has a block and its own findings.
pub const SCAN_THREADS_MAX: u64 = 8;

/// How much of a log is worth a further thread, in bytes.
pub const SCAN_PART_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The stack of such a thread, in bytes.
pub const SCAN_STACK_BYTES: usize = 64 * 1024;

/// How much is read at once where a line's end is looked for, in bytes.
pub const SCAN_SEEK_BYTES: usize = 4 * 1024;
