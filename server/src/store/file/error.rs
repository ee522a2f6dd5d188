//! Why the store could not do something, how far it had come, and which errors end the instance.

use std::io;
use std::path::Path;

use journal::JournalError;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Archiving the day was cut short.
    #[error("the day is being put away: if nobody is at it, `server archive` finishes it")]
    Archiving,
    /// The draw is due and could not be held.
    #[error(transparent)]
    Draw(JournalError),
}

impl StoreError {
    /// A file could not be read.
    pub(super) fn read(path: &Path, error: io::Error) -> Self {
        Self::Journal(JournalError::Read(path.to_owned(), error))
    }

    /// Whether what is in the log, or durable, is unknown: the instance must end.
    pub(super) fn is_broken(&self) -> bool {
        matches!(
            self,
            Self::Journal(JournalError::Broken { .. }) | Self::Draw(JournalError::Broken { .. })
        )
    }

    /// The error with its causes, in one line, for a client.
    pub(super) fn reason(&self) -> String {
        let chain: Vec<_> = anyhow::Chain::new(self).map(ToString::to_string).collect();
        chain.join(": ")
    }
}
