//! The place of one run of the bench: its directory, the program, the bets, the effort, the early
//! end.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::cli::BenchOptions;
use super::instances::WINNING_NUMBER;
use super::machine::Machine;
use super::results::{BenchResult, Case};
use super::turns::{Effort, Entry, take_turns};
use harness::bets_dir::{BetsDirectory, Generate};
use harness::directory;

/// How many different bets there are; sent over and over. Few enough to be in a cache, so that
/// the load costs little.
const BETS: u64 = 10_000;

/// What all questions of one run share.
pub struct Place {
    /// This program, which is server and client, too.
    pub binary: PathBuf,
    /// The machine.
    pub machine: Machine,
    /// 10,000 made-up bets, as `agency-1.csv`.
    pub bets: BetsDirectory,
    out: PathBuf,
    effort: Effort,
    /// Is cancelled when a signal asks for the end.
    stop: CancellationToken,
    root: TempDir,
}

/// The file of JSON of one question. BENCHMARKS.md describes it; keys are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    effort: Effort,
    others_processor_share: f64,
    #[serde(flatten)]
    result: &'a BenchResult,
}

impl Place {
    /// Makes the directories and the bets, and gets to know the machine.
    ///
    /// # Errors
    /// A directory or the bets cannot be made.
    pub async fn prepare(options: &BenchOptions, stop: CancellationToken) -> anyhow::Result<Self> {
        let use_it = || format!("use --out {}", options.out.display());
        let out = directory::make(&options.out).with_context(use_it)?;
        // Beside the results, for /tmp may be memory, where a sync costs nothing.
        let made = tempfile::Builder::new().prefix("run-").tempdir_in(&out);
        let root = made.with_context(use_it)?;
        // A server that does not run as root has to reach its own directory in this one.
        let passable = Permissions::from_mode(0o711);
        fs::set_permissions(root.path(), passable).context("open a directory")?;
        let binary = std::env::current_exe().context("find this program's file")?;
        let bets = Generate { agencies: 1, rows: BETS, seed: 1, winner_number: WINNING_NUMBER };
        let bets = BetsDirectory::generate(&binary, root.path(), bets).await?;
        let machine = Machine::of(root.path())?;
        Ok(Self { binary, machine, bets, out, effort: options.effort(), stop, root })
    }

    /// A new, empty directory for one contestant, on the disk that all of them use.
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

    /// Measures all contestants of a case in turn.
    ///
    /// # Errors
    /// A contestant fails, or a signal asked for the end.
    pub async fn measure(
        &self,
        name: String,
        parameters: &[(&'static str, u64)],
        entries: Vec<Entry<'_>>,
    ) -> anyhow::Result<Case> {
        let standings = take_turns(entries, self.effort, &self.stop).await?;
        Ok(Case::new(name, parameters, standings))
    }

    /// Writes `QUESTION.json` of `result`, which others disturbed by `others_processor_share`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, result: &BenchResult, others_processor_share: f64) -> anyhow::Result<()> {
        let (machine, effort) = (&self.machine, self.effort);
        let document = Document { machine, effort, others_processor_share, result };
        let json = serde_json::to_string_pretty(&document).context("write the result as JSON")?;
        let path = self.out.join(format!("{}.json", result.question));
        fs::write(&path, json + "\n").with_context(|| format!("write {}", path.display()))
    }
}
