//! The files of bets, one an agency: given, or made for the run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::{ChildProcess, Launch};
use crate::volume::LineCounter;

/// How long making the bets may take.
const GENERATE_TIMEOUT: Duration = Duration::from_secs(120);

/// A directory with `agency-1.csv` to `agency-<n>.csv`.
#[derive(Debug, Clone)]
pub struct BetsDirectory {
    path: PathBuf,
    agencies: u32,
}

/// Which bets to make.
#[derive(Debug, Clone, Copy)]
pub struct Generate {
    /// For how many agencies.
    pub agencies: u32,
    /// How many rows an agency has, roughly: each has another count.
    pub rows: u64,
    /// What they are made from: the same seed, the same bets.
    pub seed: u64,
    /// The number that some of them bet on, 0..=9999.
    pub winner_number: u16,
}

impl BetsDirectory {
    /// The files in `path`.
    ///
    /// # Errors
    /// The directory or the file of an agency is not there.
    pub fn given(path: &Path, agencies: u32) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("--bets {}", path.display()))?;
        let directory = Self { path, agencies };
        for agency in 1..=agencies {
            if !directory.file(agency).is_file() {
                let path = directory.path.display();
                bail!(
                    "--bets {path} has no file agency-{agency}.csv: add it, or take fewer \
                     agencies than --clients {agencies}"
                );
            }
        }
        Ok(directory)
    }

    /// Makes bets with `client generate`, run in `directory`, where they are put into `bets`.
    ///
    /// # Errors
    /// They could not be made.
    pub async fn generate(binary: &Path, directory: &Path, bets: Generate) -> anyhow::Result<Self> {
        let Generate { agencies, rows, seed, winner_number } = bets;
        let path = directory.join("bets");
        let numbers = [u64::from(agencies), rows, seed, u64::from(winner_number)];
        let mut launch = Launch::new(binary, &["client", "generate"]);
        let names = ["--agencies", "--rows", "--seed", "--winner-number"];
        for (name, number) in names.iter().zip(numbers) {
            launch.arguments.extend([(*name).to_owned(), number.to_string()]);
        }
        let out = path.to_string_lossy().into_owned();
        launch.arguments.extend(["--out".to_owned(), out]);
        let mut process = ChildProcess::spawn("generate", &launch, directory)?;
        let status = process.wait(GENERATE_TIMEOUT).await?;
        if !status.success() {
            return Err(process.failure(format!("made no bets, {status}")));
        }
        Self::given(&path, agencies)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many agencies have files here.
    #[must_use]
    pub fn agencies(&self) -> u32 {
        self.agencies
    }

    /// The file of `agency`.
    #[must_use]
    pub fn file(&self, agency: u32) -> PathBuf {
        self.path.join(format!("agency-{agency}.csv"))
    }

    /// How many lines all files have: their bets, but for a last line without its end.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn lines(&self) -> anyhow::Result<u64> {
        (1..=self.agencies).try_fold(0, |sum, agency| {
            let file = self.file(agency);
            let lines = LineCounter::new(file.clone()).count();
            Ok(sum + lines.with_context(|| format!("read {}", file.display()))?)
        })
    }
}
