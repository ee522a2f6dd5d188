//! The settings of the store on files, and why opening a volume may fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use protocol::BetNumber;

/// The settings of the store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The directory that all instances share.
    pub volume: PathBuf,
    /// How many agencies the lottery has, 1..=[`protocol::limits::AGENCIES_MAX`].
    pub agencies_amount: u32,
    /// The number that wins.
    pub winning_number: BetNumber,
    /// How the instance is named in the draw's record: its address, or its host and port.
    pub instance: String,
    /// How long a lock is waited for at the most.
    pub lock_timeout: Duration,
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory, a file or the locks cannot be used.
    #[error("open the volume SHARED_VOLUME={}{}", .0.display(), advice(.1))]
    Unusable(PathBuf, #[source] io::Error),
    /// The settings are not those of the draw that the volume holds.
    #[error(
        "{key}={value} contradicts the draw of {time} in {}, which was held with {key}={drawn}: \
         set {key}={drawn}{} to serve its winners, or put it away with `server archive` (in \
         Compose: `docker compose run --rm --no-deps server archive`) to start the next day",
        volume.display(), in_compose(key, drawn)
    )]
    Contradiction {
        /// The setting.
        key: &'static str,
        /// Its value here.
        value: String,
        /// Its value when the draw was held.
        drawn: String,
        /// When the draw was held.
        time: String,
        /// The volume.
        volume: PathBuf,
    },
}

impl OpenError {
    /// Whether only other settings, or other rights, help: to try again does not.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        let Self::Unusable(_, error) = self else { return true };
        matches!(
            error.kind(),
            io::ErrorKind::NotADirectory
                | io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::Unsupported
        )
    }
}

/// The setting as Compose's users know it, where that has another name.
fn in_compose(key: &'static str, value: &str) -> String {
    if key == "AGENCIES_AMOUNT" { format!(" (in Compose: CLIENTS={value})") } else { String::new() }
}

/// What a person can do about an error of the volume, as an aside.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => {
            " (must be a directory, or a path at which one can be made)"
        }
        io::ErrorKind::PermissionDenied => {
            " (give its files to the user who runs this, or to a group of theirs with `server \
             prepare`)"
        }
        io::ErrorKind::StorageFull => " (make room on its disk)",
        io::ErrorKind::ReadOnlyFilesystem => {
            " (mount it for writing, or choose another SHARED_VOLUME)"
        }
        io::ErrorKind::Unsupported => " (choose another SHARED_VOLUME, on a local disk)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_place_is_a_wrong_setting_and_a_failed_disk_is_not() {
        for (kind, is_wrong) in [
            (io::ErrorKind::NotADirectory, true),
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::StorageFull, false),
            (io::ErrorKind::InvalidData, false),
        ] {
            let error = OpenError::Unusable("volume".into(), kind.into());
            assert_eq!(error.is_of_settings(), is_wrong, "{error}");
        }
    }
}
