//! Servers of one system and the agencies that are connected to them.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use super::load::{self, Speaker, Talk};
use super::measures::sample;
use crate::bench::daemon::Daemon;
use crate::bench::outcome::Sample;
use crate::bench::processes;

/// Running servers under load, or ready for it.
pub struct Served<T> {
    daemons: Vec<Daemon>,
    speakers: Vec<Speaker<T>>,
    acknowledged: u64,
    place: TempDir,
}

impl<T: Talk> Served<T> {
    /// `daemons` that store in `place`, with their agencies.
    pub fn new(daemons: Vec<Daemon>, speakers: Vec<Speaker<T>>, place: TempDir) -> Self {
        Self { daemons, speakers, acknowledged: 0, place }
    }

    /// How many bets all rounds stored.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// One round.
    ///
    /// # Errors
    /// An answer is wrong or does not come, or a server is gone.
    pub async fn round(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let before = self.processor_time()?;
        let (speakers, spoken) = load::run(std::mem::take(&mut self.speakers), time).await?;
        let processor = self.processor_time()?.saturating_sub(before);
        self.speakers = speakers;
        self.acknowledged += spoken.bets;
        Ok(sample(spoken, Some(processor), Some(self.memory_mib()?)))
    }

    /// Ends the agencies, then all servers; gives the directory in which they stored.
    ///
    /// # Errors
    /// A server does not end in order.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        drop(self.speakers);
        for daemon in self.daemons {
            daemon.stop(Signal::TERM).await.context("end a server")?;
        }
        Ok(self.place)
    }

    fn processor_time(&self) -> anyhow::Result<Duration> {
        self.daemons.iter().map(|daemon| processes::processor_time(daemon.id()?)).sum()
    }

    /// That of the server that needs most.
    fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut all = self.daemons.iter().map(|daemon| processes::memory_high_mib(daemon.id()?));
        all.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))
    }
}
