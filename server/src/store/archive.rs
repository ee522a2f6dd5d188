//! Putting a finished draw away, so that the next day can start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};

use super::disk::Disk;
use super::volume::{LockedVolume, StoreSettings, Volume};
use super::{ARCHIVE, DRAW};

/// Why nothing, or not all, was put away.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The volume cannot be opened.
    #[error("open the volume {}", .0.display())]
    Unusable(PathBuf, #[source] io::Error),
    /// There is no draw yet, and nobody said to put it away all the same.
    #[error(
        "the draw has not been held: {bets} bets are stored and {closed}; wait for the draw, or \
         add --unfinished to put the day away without one"
    )]
    Unfinished {
        /// How many bets would be put away.
        bets: u64,
        /// Which agencies have closed.
        closed: String,
    },
    /// The volume holds no bet, no close and no draw.
    #[error("there is nothing to put away: no bet, no close, no draw")]
    Empty,
    /// The locks, or the system, refused.
    #[error("put the day away; what is left can be put away by the same command again")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Puts the day away, under the locks: `agencies_closed.txt`, `bets.csv` and `draw.json` go to
/// `archive/<time>/`, the time being that of the draw. Says where they went.
///
/// The draw's record goes last. An archive that was cut short leaves a day that is drawn, in which
/// nothing can be stored, and goes on where it was when it is called again.
///
/// # Errors
/// [`ArchiveError`].
pub fn archive<D: Disk>(
    disk: D,
    settings: StoreSettings,
    unfinished: bool,
) -> Result<PathBuf, ArchiveError> {
    let deadline = Instant::now() + settings.lock_timeout;
    let path = settings.volume.clone();
    let mut volume =
        Volume::open_files(disk, settings).map_err(|e| ArchiveError::Unusable(path.clone(), e))?;
    let disk = std::sync::Arc::clone(&volume.disk);
    let locked = volume.lock(deadline).map_err(failed)?;
    let time = match locked.draw {
        Some(draw) => draw.time.clone(),
        None if locked.bets.bytes().map_err(failed)? == 0
            && locked.closes.bytes().map_err(failed)? == 0 =>
        {
            return Err(ArchiveError::Empty);
        }
        None if unfinished => Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        None => {
            let bets = locked.bets.fold().bets();
            return Err(ArchiveError::Unfinished { bets, closed: locked.closes.fold().summary() });
        }
    };
    // Colons are no part of a file's name everywhere.
    let directory = path.join(ARCHIVE).join(time.replace(':', "-"));
    move_all(&*disk, locked, &path, &directory)?;
    Ok(directory)
}

fn move_all<D: Disk>(
    disk: &D,
    locked: LockedVolume<'_, D>,
    volume: &Path,
    directory: &Path,
) -> Result<(), ArchiveError> {
    let LockedVolume { mut bets, mut closes, draw } = locked;
    disk.create_directory(directory).map_err(failed)?;
    disk.sync_directory(&volume.join(ARCHIVE)).map_err(failed)?;
    bets.settle().map_err(failed)?;
    closes.settle().map_err(failed)?;
    let is_free = |name: &str| -> io::Result<Option<PathBuf>> {
        let target = directory.join(name);
        Ok(disk.find(&target)?.is_none().then_some(target))
    };
    if let Some(target) = is_free("agencies_closed.txt").map_err(failed)? {
        closes.move_to(&target).map_err(failed)?;
    }
    if let Some(target) = is_free("bets.csv").map_err(failed)? {
        bets.move_to(&target).map_err(failed)?;
    }
    disk.sync_directory(directory).map_err(failed)?;
    disk.sync_directory(volume).map_err(failed)?;
    if draw.is_some() {
        disk.rename(&volume.join(DRAW), &directory.join(DRAW)).map_err(failed)?;
    }
    disk.sync_directory(directory).map_err(failed)?;
    disk.sync_directory(volume).map_err(failed)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ArchiveError {
    ArchiveError::Failed(error.into())
}
