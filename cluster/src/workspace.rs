//! Where a run takes place: its directory, its volume, its bets.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use client::bets::Bets;

use crate::cli::ClusterOptions;
use harness::bets_dir::{BetsDirectory, Generate};
use harness::cluster::ClusterPlan;
use harness::directory::{self, RunDirectory};
use harness::volume::Volume;

/// The places of one run.
#[derive(Debug)]
pub struct Workspace {
    /// Logs, outputs, and what was given no place of its own.
    pub directory: RunDirectory,
    /// What the instances share.
    pub volume: Volume,
    binary: PathBuf,
    given_bets: Option<BetsDirectory>,
}

impl Workspace {
    /// Checks what is given, and makes what is not.
    ///
    /// # Errors
    /// A given file or directory is not there or cannot be made.
    pub fn prepare(options: &ClusterOptions) -> anyhow::Result<Self> {
        let given_bets = options.bets.as_deref();
        let given_bets =
            given_bets.map(|path| BetsDirectory::given(path, options.clients)).transpose()?;
        given_bets.as_ref().map_or(Ok(()), check)?;
        let directory = match &options.keep_logs {
            Some(path) => RunDirectory::given(path).context("--keep-logs")?,
            None => RunDirectory::temporary()?,
        };
        let volume = match &options.volume {
            Some(path) => directory::make(path).context("--volume")?,
            None => directory::make(&directory.path().join("volume"))?,
        };
        let binary = std::env::current_exe().context("find this program's file")?;
        Ok(Self { directory, volume: Volume::new(&volume), binary, given_bets })
    }

    /// The given files of bets, or made ones.
    ///
    /// # Errors
    /// They could not be made.
    pub async fn bets(&self, options: &ClusterOptions) -> anyhow::Result<BetsDirectory> {
        if let Some(given) = &self.given_bets {
            return Ok(given.clone());
        }
        let bets = Generate {
            agencies: options.clients,
            rows: options.rows,
            seed: options.seed,
            winner_number: options.winner_number,
        };
        BetsDirectory::generate(&self.binary, self.directory.path(), bets).await
    }

    /// What to start here.
    #[must_use]
    pub fn plan(&self, options: &ClusterOptions) -> ClusterPlan {
        ClusterPlan {
            servers: options.servers,
            agencies: options.clients,
            winner_number: options.winner_number,
            volume: self.volume.clone(),
            ..ClusterPlan::new(&self.binary, self.directory.path())
        }
    }
}

/// Reads all files as their clients will. Fails with every line of a file that is no bet.
fn check(bets: &BetsDirectory) -> anyhow::Result<()> {
    for agency in 1..=bets.agencies() {
        let file = bets.file(agency);
        let context = || format!("--bets: {} cannot be sent", file.display());
        let opened = File::open(&file).with_context(context)?;
        Bets::read(BufReader::new(opened)).with_context(context)?;
    }
    Ok(())
}
