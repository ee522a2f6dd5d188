//! The names of files and directories in the volume: see PROTOCOL.md.

/// The directory of lock files and intents, in the volume.
pub(crate) const LOCKS: &str = "locks";
/// The bets.
pub(super) const BETS: &str = "bets.csv";
/// The closes.
pub(super) const CLOSES: &str = "agencies_closed.txt";
/// Messages.
pub(super) const MESSAGES: &str = "messages.csv";
/// The draw's record.
pub(super) const DRAW: &str = "draw.json";
/// What instances write in the volume itself, and a name under which one of these is begun.
pub(crate) const FILES: [&str; 5] = [BETS, CLOSES, MESSAGES, DRAW, "draw.json.tmp"];
/// In the directory of locks: the day is being archived, and where to.
pub(super) const ARCHIVING: &str = "archiving";
/// The directory of finished draws.
pub(crate) const ARCHIVE: &str = "archive";
