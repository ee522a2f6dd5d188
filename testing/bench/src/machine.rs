//! The machine on which figures were taken: without it they mean nothing.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use procfs::process::Process;
use procfs::{CpuInfo, Current as _, Meminfo};
use serde::Serialize;

/// How many syncs are timed.
const SYNCS: usize = 200;

/// How many bytes are appended before each of them.
const SYNC_BYTES: usize = 4096;

/// What the figures depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many threads run at once.
    pub cores: usize,
    /// How much memory there is.
    pub memory_gib: f64,
    /// Kernel and its release.
    pub kernel: String,
    /// The file system of the measured directory.
    pub file_system: String,
    /// Median of a 4 KiB append with its `fdatasync` there.
    pub sync_median_us: f64,
    /// One in a hundred of them takes longer.
    pub sync_p99_us: f64,
    /// This project's version.
    pub version: &'static str,
}

impl Machine {
    /// Asks the system, and times syncs in `directory`.
    ///
    /// # Errors
    /// Nothing can be written to `directory`.
    pub fn of(directory: &Path) -> anyhow::Result<Self> {
        let system = rustix::system::uname();
        let mut syncs = time_syncs(directory).context("time the disk's syncs")?;
        syncs.sort_unstable();
        let at = |place: usize| syncs.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
        Ok(Self {
            processor: processor().unwrap_or_else(unknown),
            cores: available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(),
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            file_system: file_system(directory).unwrap_or_else(unknown),
            sync_median_us: at(SYNCS / 2),
            sync_p99_us: at(SYNCS * 99 / 100),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// All of it in a line or two for people.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{}, {} cores, {:.1} GiB, {}, {}\n\
             4 KiB append+fdatasync: median {:.0} µs, p99 {:.0} µs\n",
            self.processor,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.file_system,
            self.sync_median_us,
            self.sync_p99_us
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn time_syncs(directory: &Path) -> anyhow::Result<Vec<Duration>> {
    let path = directory.join("syncs");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let bytes = [b'.'; SYNC_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

fn processor() -> Option<String> {
    CpuInfo::current().ok()?.model_name(0).map(str::to_owned)
}

fn memory_gib() -> f64 {
    let bytes = Meminfo::current().map_or(f64::NAN, |memory| memory.mem_total as f64);
    bytes / (1024.0 * 1024.0 * 1024.0)
}

/// Type of the file system in which `directory` is: that of the longest mount point above it, the
/// last one mounted there.
fn file_system(directory: &Path) -> Option<String> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?.into_iter();
    let above = mounts.filter(|mount| directory.starts_with(&mount.mount_point));
    let nearest = above.max_by_key(|mount| mount.mount_point.as_os_str().len());
    nearest.map(|mount| mount.fs_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::of(directory.path()).unwrap();
        assert!(machine.cores > 0 && machine.memory_gib > 0.0, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        assert_ne!(machine.file_system, "unknown", "{machine:?}");
        assert!(machine.sync_median_us <= machine.sync_p99_us, "{machine:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
