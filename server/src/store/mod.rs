//! The store: every bet and every close, durable, and the draw over them.
//!
//! The rest of the server knows the trait [`Store`] and nothing of files. [`FileStore`] keeps the
//! files of the volume, as PROTOCOL.md describes them, with one thread that does all the work on
//! them.
//!
//! **Invariant**: the lock order is `agencies_closed`, then `bets`. Nothing is awaited under a
//! lock.

mod archive;
#[cfg(test)]
mod archive_tests;
mod batch;
#[cfg(test)]
mod behind_tests;
mod beside;
mod check;
mod compare;
pub mod disk;
#[cfg(test)]
mod fault_tests;
mod file_store;
#[cfg(test)]
mod file_store_tests;
mod gather;
mod intent;
mod ledger;
mod lines;
mod lock;
mod log;
mod log_error;
mod lost;
mod mend;
mod one_flush;
mod opening;
mod plan;
mod queue;
mod real_disk;
mod record;
mod scan;
#[cfg(test)]
mod settle_tests;
#[cfg(test)]
mod simulated;
mod trouble;
mod volume;
#[cfg(test)]
mod volume_tests;
mod whole_file;

use std::future::Future;
use std::sync::Arc;

use protocol::{AgencyId, AgencyState, Outcome};
use tokio::sync::watch;

pub use archive::{ArchiveError, ArchivedDay, archive};
pub use batch::{Appended, Batch};
pub use file_store::{FileStore, StoreEnd};
pub use ledger::AgencyRows;
pub use lock::WaitEnd;
pub use opening::{OpenError, StoreSettings};
pub use record::{AgencyRecord, Draw, DrawRecord};

/// The directory of lock files and intents, in the volume.
pub(crate) const LOCKS: &str = "locks";
/// The bets.
const BETS: &str = "bets.csv";
/// The closes.
const CLOSES: &str = "agencies_closed.txt";
/// The draw's record.
const DRAW: &str = "draw.json";
/// What instances write in the volume itself, and a name under which one of these is begun.
pub(crate) const FILES: [&str; 4] = [BETS, CLOSES, DRAW, "draw.json.tmp"];
/// In the directory of locks: the day is being put away, and where to.
const ARCHIVING: &str = "archiving";
/// The directory of finished draws.
pub(crate) const ARCHIVE: &str = "archive";

/// The server could not; nothing was done, and trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What is stored of an agency, durably, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgencyStatus {
    /// The rows.
    pub stored: AgencyRows,
    /// Where the agency stands.
    pub state: AgencyState,
}

/// How a close ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the agency was closed by this call, not earlier.
    pub is_new: bool,
}

impl Closed {
    /// It ended so, and changed nothing.
    #[must_use]
    pub fn unchanged(outcome: Outcome) -> Self {
        Self { outcome, is_new: false }
    }
}

/// What stores the bets. Cheap to clone: all clones are one store.
///
/// A call that was made is carried out, whether or not somebody still waits for its answer.
pub trait Store: Clone + Send + Sync + 'static {
    /// Stores a batch whole or not at all; [`Outcome::Done`] means that it is durable.
    fn append(&self, batch: &Batch<'_>) -> impl Future<Output = Appended> + Send;

    /// Closes an agency; with `rows`, only if exactly so many rows of it are stored. Closing
    /// again changes nothing.
    fn close(&self, agency: AgencyId, rows: Option<u64>) -> impl Future<Output = Closed> + Send;

    /// What is stored of an agency.
    fn status(
        &self,
        agency: AgencyId,
    ) -> impl Future<Output = Result<AgencyStatus, Unavailable>> + Send;

    /// Looks for a draw that another instance held, and holds it if it is due: when every agency
    /// has closed and nobody has held it yet. Says whether this call held it. What is found or
    /// held is told through [`Store::draw`].
    fn look(&self) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The draw of this day, when it has been held.
    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>>;
}
