//! The machine on which figures were taken, and what else ran on it: without these, figures mean
//! nothing.

use std::io::Write as _;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use harness::processes;
use hdrhistogram::Histogram;
use procfs::process::Process;
use procfs::{CpuInfo, Current as _, Meminfo};
use serde::Serialize;
use tempfile::NamedTempFile;

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
        let (name, release) = (system.sysname(), system.release());
        let processors = CpuInfo::current().context("read the processor's name")?;
        let memory = Meminfo::current().context("read how much memory there is")?.mem_total;
        let syncs = time_syncs(directory).context("time the disk's syncs")?;
        let micros = |quantile| syncs.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Self {
            processor: processors.model_name(0).unwrap_or("unknown").to_owned(),
            cores: available_parallelism().map_or(1, usize::from),
            memory_gib: memory as f64 / (1024.0 * 1024.0 * 1024.0),
            kernel: format!("{} {}", name.to_string_lossy(), release.to_string_lossy()),
            file_system: file_system(directory).unwrap_or_else(|| "unknown".to_owned()),
            sync_median_us: micros(0.5),
            sync_p99_us: micros(0.99),
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

/// How long each of some appends with its sync takes, in nanoseconds.
fn time_syncs(directory: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut file = NamedTempFile::new_in(directory)?;
    let mut times = Histogram::new(3).context("make a histogram")?;
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[b'.'; SYNC_BYTES])?;
        file.as_file().sync_data()?;
        times.record(start.elapsed().as_nanos() as u64).context("count a sync")?;
    }
    Ok(times)
}

/// Type of the file system in which `directory` is: that of the longest mount point above it, the
/// last one mounted there.
fn file_system(directory: &Path) -> Option<String> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?.into_iter();
    let above = mounts.filter(|mount| directory.starts_with(&mount.mount_point));
    let nearest = above.max_by_key(|mount| mount.mount_point.as_os_str().len());
    nearest.map(|mount| mount.fs_type)
}

/// From this share of the processors on, figures mean little. The kernel's own threads need some.
const OTHERS_SHARE_MAX: f64 = 0.1;

/// Watches how much of the processors other processes take.
pub struct Others {
    start: Instant,
    time: Duration,
}

impl Others {
    /// Starts to watch.
    ///
    /// # Errors
    /// The system does not say.
    pub fn watch() -> anyhow::Result<Self> {
        Ok(Self { start: Instant::now(), time: Self::time()? })
    }

    /// Processor time of all processes except this one and the children that it has ended.
    fn time() -> anyhow::Result<Duration> {
        let own = processes::processor_time(std::process::id())?;
        Ok(processes::machine_time()?.saturating_sub(own))
    }

    /// The share of all processors, 0 to 1, that others have taken since.
    ///
    /// # Errors
    /// The system does not say.
    pub fn share(&self, machine: &Machine) -> anyhow::Result<f64> {
        let whole = self.start.elapsed().as_secs_f64() * machine.cores as f64;
        Ok((Self::time()?.saturating_sub(self.time).as_secs_f64() / whole).min(1.0))
    }
}

/// What to say of such a share; nothing if it does not matter.
#[must_use]
pub fn warning(others_share: f64) -> Option<String> {
    (others_share > OTHERS_SHARE_MAX).then(|| {
        format!(
            "Others took {:.0} % of the processors meanwhile: these figures mean little, the \
             limit's least of all.",
            others_share * 100.0
        )
    })
}
