//! Every limit of the wire, derived from one another where one follows from another.

/// The longest packet a server takes, in bytes, its `\n` included.
///
/// Answers are not bound by it: a `WinnersResponse` is as long as the agency has winners.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest first or last name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 100;

/// The longest document, in ASCII letters and digits.
pub const DOCUMENT_BYTES_MAX: usize = 20;

/// The length of a birthdate, `YYYY-MM-DD`, in bytes.
pub const BIRTHDATE_BYTES: usize = 10;

/// The highest number that can be bet on; the lowest is 0.
pub const NUMBER_MAX: u16 = 9_999;

/// The most digits in which a number may be written (leading zeros are accepted, and not kept).
pub const NUMBER_DIGITS_MAX: usize = 20;

/// The highest agency number that any lottery can have; a server's own limit is its
/// AGENCIES_AMOUNT. It bounds what a server keeps for each agency: some tens of bytes.
pub const AGENCIES_MAX: u32 = 100_000;

/// The longest time that a server waits for the volume's locks before it answers that it could
/// not, in seconds. A client that waits less for an answer leaves servers that are merely busy.
pub const LOCK_WAIT_SECONDS_MAX: u64 = 5;

/// The longest bet on the wire, in bytes: five fields and four separators.
pub const BET_BYTES_MAX: usize =
    2 * NAME_BYTES_MAX + DOCUMENT_BYTES_MAX + BIRTHDATE_BYTES + NUMBER_DIGITS_MAX + 4;

/// The shortest bet on the wire, in bytes: `a;b;1;2000-01-01;0`.
pub const BET_BYTES_MIN: usize = 1 + 1 + 1 + BIRTHDATE_BYTES + 1 + 4;

/// The most bets that one packet can carry: behind its shortest head, `StoreBatch:1:`, each of them
/// but the last is followed by a `:`, and the last one by the `\n`.
pub const BETS_MAX: usize = (LINE_BYTES_MAX - "StoreBatch:1:".len()) / (BET_BYTES_MIN + 1);

/// The longest head of a packet that carries rows: `StoreRows:100000;18446744073709551615:`.
pub const ROWS_HEAD_BYTES_MAX: usize = 10 + 6 + 1 + 20 + 1;

/// What a row has beside its bet's bytes at most: the agency, five separators, `\n`. The bet has
/// separators of its own, which are counted twice.
pub const ROW_EXTRA_BYTES_MAX: usize = 6 + 5 + 1;

/// How many bytes are looked at or copied at once, where bets and rows are read and rows written:
/// most have no more.
pub const WINDOW_BYTES: usize = 64;

/// How much of an over-long line is kept, to tell which packet it was meant to be, in bytes.
pub const HEAD_BYTES: usize = 24;

const _: () = assert!(
    ROWS_HEAD_BYTES_MAX + BET_BYTES_MAX < LINE_BYTES_MAX,
    "the longest bet fits a packet by itself"
);
const _: () = assert!(HEAD_BYTES > "AgencyStatusResponse:".len(), "a head tells its packet's type");
