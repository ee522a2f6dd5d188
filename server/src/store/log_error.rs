//! Why a log could not be used, and what of it ends the instance.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::SyncError;
use super::lock::LockError;

/// Why a log could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("read or mend {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Putting the day away was cut short.
    #[error("the day is being put away: if nobody is at it, `server archive` finishes it")]
    Archiving,
    /// Nothing of the group is in the log.
    #[error("append to {}", .0.display())]
    Append(PathBuf, #[source] io::Error),
    /// What is in the log, or durable, nobody knows: the instance must end.
    #[error("{doing} {}", path.display())]
    Broken {
        doing: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl LogError {
    /// Tells an error that ends the instance, a failed sync, from the rest.
    pub(super) fn of(
        path: &Path,
        error: io::Error,
        otherwise: fn(PathBuf, io::Error) -> Self,
    ) -> Self {
        let path = path.to_owned();
        if SyncError::is_in(&error) {
            return Self::Broken { doing: "make durable", path, error };
        }
        otherwise(path, error)
    }

    /// The error with its causes, in one line, for a client.
    pub(super) fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }
}
