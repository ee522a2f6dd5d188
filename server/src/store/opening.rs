//! What opening a volume takes, and why it may fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use protocol::BetNumber;

/// What the store is told when it is opened.
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
         set {key}={drawn} to serve its winners, or run `server archive` to put it away and start \
         the next day", volume.display()
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

/// What a person can do about an error of the volume, as an aside.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (give its files to the user who runs this, or to a group of theirs with `server \
             prepare`)"
        }
        io::ErrorKind::StorageFull => " (make room on its disk)",
        _ => "",
    }
}
