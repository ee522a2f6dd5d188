//! Which instances live: each holds the lock of a file of its own, with its process in it.
//!
//! The system gives the lock back however the process ends, so that no clock and no sign of life is
//! needed.

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use journal::disk::{Disk, DiskFile, Mode, write_all};
use rustix::process::{Pid, Signal, kill_process};

use super::messages::MessageSettings;
use super::names::LOCKS;

/// This instance lives until it is dropped.
pub(super) struct Life<D: Disk> {
    _file: D::File,
}

/// How long a process id is in the file, with blanks behind it.
const ID_BYTES: usize = 10;

impl<D: Disk> Life<D> {
    /// Takes the lock of this instance. If another one of the same name has it, the name lives as long
    /// as either.
    pub(super) fn begin(disk: &D, settings: &MessageSettings) -> io::Result<Self> {
        disk.create_directory(&settings.volume.join(LOCKS))?;
        let file = disk.open(&path_of(&settings.volume, &settings.instance), Mode::InPlace)?;
        if file.try_take_lock()? {
            // Without it, as on a full disk, it cannot be drained by name, and all else works.
            let _ = write_all(&file, format!("{:<ID_BYTES$}", process::id()).as_bytes(), 0);
        }
        Ok(Self { _file: file })
    }
}

/// Whether the instance of this name lives. If that is not known, it does.
pub(super) fn is_alive(disk: &impl Disk, volume: &Path, instance: &str) -> bool {
    process_of(disk, volume, instance).map_or(true, |process| process.is_some())
}

/// The process of the instance of this name; `None` if it does not live, 0 if its file does not say
/// which it is.
pub(super) fn process_of(
    disk: &impl Disk,
    volume: &Path,
    instance: &str,
) -> io::Result<Option<u32>> {
    let path = path_of(volume, instance);
    if disk.find(&path)?.is_none() {
        return Ok(None);
    }
    let file = disk.open(&path, Mode::InPlace)?;
    if file.try_take_lock()? {
        file.give_lock_back()?;
        return Ok(None);
    }
    let mut id = [0; ID_BYTES];
    let read = file.read_at(&mut id, 0)?;
    let text = id.get(..read).and_then(|id| str::from_utf8(id).ok()).unwrap_or_default();
    Ok(Some(text.trim_end().parse().unwrap_or(0)))
}

fn path_of(volume: &Path, instance: &str) -> PathBuf {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = instance.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    volume.join(LOCKS).join(format!("instance-{name}.lock"))
}

/// Asks the instance of this name to end, and waits until it has. Returns its process.
///
/// # Errors
/// It does not live, or is no process that this one may end, or takes too long.
pub(crate) fn drain(
    disk: &impl Disk,
    volume: &Path,
    instance: &str,
    most: Duration,
) -> anyhow::Result<u32> {
    let id = process_of(disk, volume, instance)?
        .with_context(|| format!("no instance {instance} runs on this volume"))?;
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    let process = process.context("its file does not say which process it is")?;
    kill_process(process, Signal::TERM)
        .with_context(|| format!("end process {id} of this machine or container"))?;
    let end = Instant::now() + most;
    while process_of(disk, volume, instance)?.is_some() {
        ensure!(Instant::now() < end, "it has not ended after {most:?}");
        thread::sleep(DRAIN_STEP);
    }
    Ok(id)
}

/// How often it is looked whether an instance has ended: no event tells who does not wait for its
/// own child.
const DRAIN_STEP: Duration = Duration::from_millis(20);
