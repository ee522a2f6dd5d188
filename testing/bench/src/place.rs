//! The place of one run of the bench: its directory, the program, the bets, the early end.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::cli::Options;
use super::machine::Machine;
use harness::bets_dir::{BetsDirectory, Generate};
use harness::directory;

/// How many different bets there are; sent over and over. Few enough to be in a cache, so that
/// the load costs little.
const BETS: u64 = 10_000;

/// What all questions of one run share.
pub struct Place {
    /// This program, which is server and client, too.
    pub binary: PathBuf,
    /// Where the results go.
    pub out: PathBuf,
    /// The machine.
    pub machine: Machine,
    /// 10,000 made-up bets, as `agency-1.csv`.
    pub bets: BetsDirectory,
    /// Is cancelled when a signal asks for the end.
    pub stop: CancellationToken,
    root: TempDir,
}

impl Place {
    /// Makes the directories and the bets, and gets to know the machine.
    ///
    /// # Errors
    /// A directory or the bets cannot be made.
    pub async fn prepare(options: &Options, stop: CancellationToken) -> anyhow::Result<Self> {
        let use_it = || format!("use --out {}", options.out.display());
        let out = directory::make(&options.out).with_context(use_it)?;
        // Beside the results, for /tmp may be memory, where a sync costs nothing.
        let made = tempfile::Builder::new().prefix("run-").tempdir_in(&out);
        let directory = made.with_context(use_it)?;
        // A server that does not run as root has to reach its own directory in this one.
        let passable = Permissions::from_mode(0o711);
        fs::set_permissions(directory.path(), passable).context("open a directory")?;
        let binary = std::env::current_exe().context("find this program's file")?;
        let bets = Generate { agencies: 1, rows: BETS, seed: 1, winner_number: 7574 };
        let bets = BetsDirectory::generate(&binary, directory.path(), bets).await?;
        let machine = Machine::of(directory.path())?;
        Ok(Self { binary, out, machine, bets, stop, root: directory })
    }

    /// A new, empty directory for one contestant, on the disk that all of them use. The caller
    /// removes it, so that disks do not fill up; at the end all is removed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(&self, name: &str) -> anyhow::Result<TempDir> {
        let made = tempfile::Builder::new().prefix(name).tempdir_in(self.root.path());
        made.with_context(|| format!("make a directory for {name}"))
    }

    /// Prints a progress note.
    pub fn note(&self, text: &str) {
        // If standard error is gone, no person reads it.
        let _ = writeln!(io::stderr(), "{text}");
    }
}
