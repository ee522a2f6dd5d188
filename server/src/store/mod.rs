//! The store: every bet and every close, durable, and the draw over them.
//!
//! The rest of the server knows the trait [`Store`], and does not know how bets are kept. The rules
//! are those of the crate `lottery`, whichever store it is.

#[cfg(test)]
mod conformance;
mod draw;
pub mod file;
pub mod messages;

use std::future::Future;
use std::sync::Arc;

use protocol::{AgencyId, Outcome, WireBets};
use tokio::sync::watch;

pub use draw::{AgencyRecord, Draw, DrawRecord};
pub use lottery::{AgencyRows, AgencyStatus};

/// The server could not; nothing was done, and trying again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Whether it was done is unknown: it may be done now, later, or never. So a client gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("whether it was done is unknown")]
pub struct Unknown;

/// Bets of one agency that are stored whole or not at all.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Whose bets they are.
    pub agency: AgencyId,
    /// The row of the first bet, from 1; `None` puts them behind the agency's last row.
    pub first_row: Option<u64>,
    /// The bets.
    pub bets: WireBets<'a>,
}

/// How a batch ended, and what is stored of its agency now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// How it ended.
    pub outcome: Outcome,
    /// The agency's rows after it, durable. With [`Outcome::TryAgain`] it is only what this
    /// instance saw last: nothing follows from it.
    pub stored: AgencyRows,
    /// Whether its rows were stored by this call, not earlier.
    pub is_new: bool,
}

/// How a close ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the agency was closed by this call, not earlier.
    pub is_new: bool,
}

/// What stores the bets. Cheap to clone: all clones are one store.
///
/// A call that was made is carried out, whether or not its caller still waits for the reply.
pub trait Store: Clone + Send + Sync + 'static {
    /// Stores a batch whole or not at all; [`Outcome::Done`] means that it is durable.
    fn append(&self, batch: &Batch<'_>) -> impl Future<Output = Result<Appended, Unknown>> + Send;

    /// Closes an agency; with `rows`, only if exactly so many rows of it are stored. Closing
    /// again changes nothing.
    fn close(
        &self,
        agency: AgencyId,
        rows: Option<u64>,
    ) -> impl Future<Output = Result<Closed, Unknown>> + Send;

    /// What is stored of an agency, durably.
    fn status(
        &self,
        agency: AgencyId,
    ) -> impl Future<Output = Result<AgencyStatus, Unavailable>> + Send;

    /// Looks for a draw that another instance held, and holds it if it is due: when every agency
    /// has closed and it was not held yet. Returns whether this call held it. What is found or held
    /// is published through [`Store::draw`].
    fn look(&self) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The draw of this day, when it has been held.
    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>>;
}
