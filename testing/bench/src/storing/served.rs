//! Servers of one system and the agencies that are connected to them.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use super::load::{self, Speaker, Spoken, Talk};
use super::measures::sample;
use crate::daemon::Daemon;
use crate::outcome::Sample;
use harness::processes;

/// Connected agencies, and what they have stored.
pub struct Agencies<T> {
    speakers: Vec<Speaker<T>>,
    acknowledged: u64,
}

impl<T: Talk> Agencies<T> {
    /// Those that speak so, and have stored nothing yet.
    pub fn new(speakers: Vec<Speaker<T>>) -> Self {
        Self { speakers, acknowledged: 0 }
    }

    /// How many bets all rounds stored.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// One round: what was spoken in it, and what the servers took of the processors, by what
    /// `processor_time` says before and after.
    ///
    /// # Errors
    /// An answer is wrong or does not come, or a server is gone.
    pub async fn round(
        &mut self,
        time: Duration,
        processor_time: impl Fn() -> anyhow::Result<Duration>,
    ) -> anyhow::Result<(Spoken, Duration)> {
        let before = processor_time()?;
        let (speakers, spoken) = load::run(std::mem::take(&mut self.speakers), time).await?;
        self.speakers = speakers;
        self.acknowledged += spoken.bets;
        Ok((spoken, processor_time()?.saturating_sub(before)))
    }
}

/// Running servers under load, or ready for it.
pub struct Served<T> {
    daemons: Vec<Daemon>,
    agencies: Agencies<T>,
    place: TempDir,
}

impl<T: Talk> Served<T> {
    /// `daemons` that store in `place`, with their agencies.
    pub fn new(daemons: Vec<Daemon>, speakers: Vec<Speaker<T>>, place: TempDir) -> Self {
        Self { daemons, agencies: Agencies::new(speakers), place }
    }

    /// How many bets all rounds stored.
    pub fn acknowledged(&self) -> u64 {
        self.agencies.acknowledged()
    }

    /// One round.
    ///
    /// # Errors
    /// As [`Agencies::round`].
    pub async fn round(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let daemons = &self.daemons;
        let processor_time =
            || daemons.iter().map(|daemon| processes::processor_time(daemon.id()?)).sum();
        let (spoken, processor) = self.agencies.round(time, processor_time).await?;
        Ok(sample(spoken, Some(processor), Some(self.memory_mib()?)))
    }

    /// Ends the agencies, then all servers; gives the directory in which they stored.
    ///
    /// # Errors
    /// A server does not end in order.
    pub async fn stop(self) -> anyhow::Result<TempDir> {
        drop(self.agencies);
        for daemon in self.daemons {
            daemon.stop(Signal::TERM).await.context("end a server")?;
        }
        Ok(self.place)
    }

    /// That of the server that needs most.
    fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut all = self.daemons.iter().map(|daemon| processes::memory_high_mib(daemon.id()?));
        all.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))
    }
}
