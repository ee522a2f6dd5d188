//! This project's instances over one volume, with their defaults.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use harness::cluster::{Cluster, ClusterPlan};
use harness::process::ChildProcess;
use harness::processes;
use harness::server_process::ServerProcess;

/// The number that wins in every measurement.
pub const WINNING_NUMBER: u16 = 7574;

/// Running instances, the first at 127.0.0.1, the next at 127.0.0.2, …
pub struct Instances(pub Cluster);

impl Instances {
    /// Starts `count` instances of a lottery of `agencies` whose volume, and whose logs, are in
    /// `place`; waits until all of them listen.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        binary: &Path,
        count: u8,
        agencies: u32,
        place: &Path,
    ) -> anyhow::Result<Self> {
        let winner_number = WINNING_NUMBER;
        let plan = ClusterPlan {
            servers: count,
            agencies,
            winner_number,
            ..ClusterPlan::new(binary, place)
        };
        Cluster::start(plan).await.map(Self)
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.servers().iter().map(ServerProcess::address).collect()
    }

    /// The address of the first.
    ///
    /// # Errors
    /// There is none.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        self.addresses().first().copied().context("find an instance")
    }

    /// Processor time of all of them since their start.
    ///
    /// # Errors
    /// One has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        self.0.servers().iter().map(|server| processor_time(server.process())).sum()
    }

    /// The most memory that one of them ever had resident, in MiB.
    ///
    /// # Errors
    /// One has ended.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut all = self.0.servers().iter().map(|server| memory_mib(server.process()));
        all.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))
    }

    /// Ends all of them in order: then nothing is pending on the volume.
    ///
    /// # Errors
    /// One does not end in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let failures = self.0.stop().await.err().unwrap_or_default();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

/// `1 instance`, `3 instances`.
#[must_use]
pub fn counted(instances: u8) -> String {
    if instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") }
}

/// The id of a running process.
///
/// # Errors
/// It has ended.
pub fn id(process: &ChildProcess) -> anyhow::Result<u32> {
    process.id().with_context(|| format!("{} has ended", process.name()))
}

/// The processor time of a process so far.
///
/// # Errors
/// It has ended.
pub fn processor_time(process: &ChildProcess) -> anyhow::Result<Duration> {
    processes::processor_time(id(process)?)
}

/// The most memory that a process ever had resident, in MiB.
///
/// # Errors
/// It has ended.
pub fn memory_mib(process: &ChildProcess) -> anyhow::Result<f64> {
    processes::memory_high_mib(id(process)?)
}
