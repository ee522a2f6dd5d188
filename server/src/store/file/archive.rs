//! Putting a finished draw away, so that the next day can start.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use journal::disk::{Disk, DiskFile, Mode};
use journal::{OthersWrite, WaitEnd, whole_file};

use super::messages;
use super::names::{ARCHIVE, ARCHIVING, BETS, CLOSES, DRAW, LOCKS, MESSAGES};
use super::settings::{OpenError, StoreSettings};
use super::volume::{LockedVolume, Volume};

/// A day that was put away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedDay {
    /// Where it is.
    pub directory: PathBuf,
    /// Whether another system stored rows of it: its servers may still run, and know nothing of
    /// the archive.
    pub has_others_rows: bool,
}

/// Why nothing, or not all, was put away.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The volume cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no draw yet, and the day was not to be archived without one.
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
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl ArchiveError {
    /// See [`OpenError::is_of_settings`].
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::Open(error) if error.is_of_settings())
    }
}

/// Puts the day away, under the locks: `agencies_closed.txt`, `bets.csv`, `messages.csv` and
/// `draw.json` go to `archive/<time>/`, the time being that of the draw, or now if there was none.
///
/// From its first step to its last, a marker beside the locks keeps every instance from working
/// on the day. An archive that was cut short goes on where it was when it is called again.
///
/// # Errors
/// [`ArchiveError`].
pub fn archive<D: Disk>(
    disk: D,
    settings: StoreSettings,
    unfinished: bool,
) -> Result<ArchivedDay, ArchiveError> {
    let deadline = Instant::now() + settings.lock_timeout;
    let path = settings.volume.clone();
    let mut volume = Volume::open_files(disk, settings)?;
    let disk = Arc::clone(&volume.disk);
    let locked = volume.lock_both(deadline).map_err(failed)?;
    let locks = path.join(LOCKS);
    let begun = whole_file::read(&*disk, &locks.join(ARCHIVING)).map_err(failed)?;
    let name = match begun {
        Some(name) => directory_name(&name).ok_or_else(|| failed("the marker names no day"))?,
        None => {
            let name = free_name(&*disk, &path, day_to_put_away(&locked, unfinished)?)?;
            whole_file::write(&*disk, &locks, ARCHIVING, name.as_bytes()).map_err(failed)?;
            name
        }
    };
    let directory = path.join(ARCHIVE).join(name);
    let has_others_rows = move_all(&disk, deadline, locked, &path, &directory).map_err(failed)?;
    Ok(ArchivedDay { directory, has_others_rows })
}

/// The day's name, if it may be put away: its time.
fn day_to_put_away<D: Disk>(
    locked: &LockedVolume<'_, D>,
    unfinished: bool,
) -> Result<String, ArchiveError> {
    let is_empty =
        locked.bets.bytes().map_err(failed)? == 0 && locked.closes.bytes().map_err(failed)? == 0;
    let time = match &locked.draw {
        Some(draw) => draw.time.clone(),
        None if is_empty => return Err(ArchiveError::Empty),
        None if unfinished => Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        None => {
            let (state, amount) = (locked.state, locked.state.agencies_amount());
            let closed = format!("{} of {amount} agencies have closed", state.closed());
            return Err(ArchiveError::Unfinished { bets: state.bets(), closed });
        }
    };
    Ok(day_of(&time))
}

/// A time as a directory's name; whatever else a record may have for it becomes one, too.
fn day_of(time: &str) -> String {
    let name: String = time.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "day".to_owned() } else { name.to_owned() }
}

/// Colons are no part of a file's name everywhere.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '.'
}

/// A day that was brought back from the archive, to look at it, has a directory there already.
fn free_name(disk: &impl Disk, volume: &Path, day: String) -> Result<String, ArchiveError> {
    let mut name = day.clone();
    for place in 2.. {
        if disk.find(&volume.join(ARCHIVE).join(&name)).map_err(failed)?.is_none() {
            break;
        }
        name = format!("{day}-{place}");
    }
    Ok(name)
}

/// A marker leads to a directory of the archive and nowhere else.
fn directory_name(marker: &[u8]) -> Option<String> {
    let name = str::from_utf8(marker).ok()?.trim();
    let is_name = !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain);
    is_name.then(|| name.to_owned())
}

/// Moves what is not moved yet; says whether the bets have rows of another system.
fn move_all<D: Disk>(
    disk: &Arc<D>,
    deadline: Instant,
    locked: LockedVolume<'_, D>,
    volume: &Path,
    directory: &Path,
) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let LockedVolume { mut bets, mut closes, .. } = locked;
    disk.create_directory(directory)?;
    disk.sync_directory(&volume.join(ARCHIVE))?;
    // What is there already was put there by a call that was cut short.
    let is_free = |name: &str| disk.find(&directory.join(name)).map(|found| found.is_none());
    if is_free(BETS)? {
        bets.settle()?;
        bets.move_to(&directory.join(BETS))?;
    }
    if is_free(CLOSES)? {
        closes.settle()?;
        closes.move_to(&directory.join(CLOSES))?;
    }
    // No lock is waited for while these two are held but this one, which is held for moments only.
    let mut messages = messages::open_log(disk, volume, &WaitEnd::default())?;
    let (mut messages, _) = messages.lock(deadline, &mut messages::Ignored)?;
    if messages.bytes()? > 0 && is_free(MESSAGES)? {
        messages.settle()?;
        messages.move_to(&directory.join(MESSAGES))?;
    }
    drop(messages);
    if disk.find(&volume.join(DRAW))?.is_some() && is_free(DRAW)? {
        disk.rename(&volume.join(DRAW), &directory.join(DRAW))?;
    }
    disk.sync_directory(directory)?;
    disk.sync_directory(volume)?;
    // Before the last step: if it fails, the same command looks again.
    let has_others_rows = has_others_rows(&disk.open(&directory.join(BETS), Mode::Read)?)?;
    disk.remove(&volume.join(LOCKS).join(ARCHIVING))?;
    disk.sync_directory(&volume.join(LOCKS))?;
    Ok(has_others_rows)
}

fn has_others_rows(bets: &impl DiskFile) -> io::Result<bool> {
    let end = bets.bytes()?;
    let is_others = |line: &[u8]| OthersWrite::Rows.may_be(line);
    let look = |found: &mut bool, lines: &[u8]| {
        *found = *found || lines.split_inclusive(|byte| *byte == b'\n').any(is_others);
    };
    let parts = journal::scan(bets, end, journal::threads_for(end), || false, look)?;
    Ok(parts.contains(&true))
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> ArchiveError {
    ArchiveError::Failed(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_becomes_a_name_that_the_marker_may_hold() {
        for (time, day) in [
            ("2026-01-31T10:00:00.123Z", "2026-01-31T10-00-00.123Z"),
            ("2026-01-31T10:00:00+01:00", "2026-01-31T10-00-00-01-00"),
            ("../../x", "-..-x"),
            ("..", "day"),
            ("", "day"),
            ("año/1", "a-o-1"),
        ] {
            assert_eq!(day_of(time), day);
            assert_eq!(directory_name(day.as_bytes()), Some(day.to_owned()));
        }
    }
}
