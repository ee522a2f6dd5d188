//! Why a log could not be used, and which errors end the process.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::SyncError;
use crate::lock::LockError;

/// Why a log could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be read, or recovery failed.
    #[error("read or mend {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The log has no byte of the group.
    #[error("append to {}", path.display())]
    Append {
        /// The log.
        path: PathBuf,
        /// How many bytes were to be appended.
        bytes: u64,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// What is in the log, or durable, is unknown: the process must end.
    #[error("{doing} {}", path.display())]
    Broken {
        /// What failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl JournalError {
    /// `error` about the file `path`: a failed sync ends the process, any other error is what
    /// `otherwise` makes of it.
    pub fn of(
        path: &Path,
        error: io::Error,
        otherwise: impl FnOnce(PathBuf, io::Error) -> Self,
    ) -> Self {
        let path = path.to_owned();
        if SyncError::is_in(&error) {
            return Self::Broken { doing: "make durable", path, error };
        }
        otherwise(path, error)
    }
}
