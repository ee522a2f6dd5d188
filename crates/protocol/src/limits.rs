//! Every limit of the wire, derived from one another where one follows from another.

/// The longest packet that a server accepts, in bytes with its `\n`. It is no limit of answers: a
/// `WinnersResponse` has all winners of the agency.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest first or last name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 100;

/// The longest document, in ASCII letters and digits.
pub const DOCUMENT_BYTES_MAX: usize = 20;

/// The length of a birthdate, `YYYY-MM-DD`, in bytes.
pub const BIRTHDATE_BYTES: usize = 10;

/// The highest number that can be bet on; the lowest is 0.
pub const NUMBER_MAX: u16 = 9_999;

/// The most digits of a number. Leading zeros are accepted and not kept.
pub const NUMBER_DIGITS_MAX: usize = 20;

/// The highest agency number. A server's own limit is its AGENCIES_AMOUNT. It limits the memory of
/// a server, which is some tens of bytes for each agency.
pub const AGENCIES_MAX: u32 = 100_000;

/// The longest time that a server waits for the volume's locks, in seconds. Then it answers status
/// 1. A client that waits less for an answer leaves servers that only wait.
pub const LOCK_WAIT_SECONDS_MAX: u64 = 5;

/// The longest bet in the wire form, in bytes: five fields and four separators.
pub const BET_BYTES_MAX: usize =
    2 * NAME_BYTES_MAX + DOCUMENT_BYTES_MAX + BIRTHDATE_BYTES + NUMBER_DIGITS_MAX + 4;

/// The shortest bet in the wire form, in bytes: `a;b;1;2000-01-01;0`.
pub const BET_BYTES_MIN: usize = 1 + 1 + 1 + BIRTHDATE_BYTES + 1 + 4;

/// The most bets in a packet. They follow the shortest head, `StoreBatch:1:`. Each bet has a `:`
/// or, if it is the last, the `\n` after it.
pub const BETS_MAX: usize = (LINE_BYTES_MAX - "StoreBatch:1:".len()) / (BET_BYTES_MIN + 1);

/// The longest head of a packet with rows, in bytes: `StoreRows:100000;18446744073709551615:`.
pub const ROWS_HEAD_BYTES_MAX: usize = 10 + 6 + 1 + 20 + 1;

/// The most bytes that a row has besides its bet: the agency, five separators, `\n`. The bet's own
/// four separators are counted twice.
pub const ROW_EXTRA_BYTES_MAX: usize = 6 + 5 + 1;

/// The longest name of a participant, in ASCII characters.
pub const PARTICIPANT_BYTES_MAX: usize = 30;

/// The shortest and the longest key of a participant, in ASCII letters and digits.
pub const KEY_BYTES_MIN: usize = 8;
/// See [`KEY_BYTES_MIN`].
pub const KEY_BYTES_MAX: usize = 64;

/// The longest text of a message, in bytes of UTF-8.
pub const MESSAGE_BYTES_MAX: usize = 1_000;

/// The longest address at which a participant takes private messages, in bytes.
pub const DIRECT_ADDRESS_BYTES_MAX: usize = 60;

/// How many lines a client has to expect in the answer to one read. A server sends fewer.
pub const READ_LINES_MAX: usize = 100;

/// How long a read waits for a line at the most, in seconds. Who has not read for as long is not
/// online any more.
pub const READ_SECONDS_MAX: u64 = 30;

/// How many bytes are checked or copied at once while bets and rows are read and written. Most bets
/// have no more.
pub const CHUNK_BYTES: usize = 64;

/// How much of a line that is too long is kept, in bytes, to find out the packet's type.
pub const HEAD_BYTES: usize = 24;

const _: () =
    assert!(ROWS_HEAD_BYTES_MAX + BET_BYTES_MAX < LINE_BYTES_MAX, "the longest bet fits a packet");
const _: () =
    assert!(HEAD_BYTES > "AgencyStatusResponse:".len(), "a head contains its packet's type");
