//! The files of bets, one an agency: given, or made for the run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
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
    /// How many rows the largest agencies have; others have down to two fifths of it.
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
        let mut launch = Launch::new(binary, &["client", "generate"]);
        for (name, value) in [
            ("--agencies", agencies.to_string()),
            ("--rows", rows.to_string()),
            ("--seed", seed.to_string()),
            ("--winner-number", winner_number.to_string()),
            ("--out", path.to_string_lossy().into_owned()),
        ] {
            launch.arguments.extend([name.to_owned(), value]);
        }
        let mut process = ChildProcess::spawn("generate", &launch, directory)?;
        process.succeeded(GENERATE_TIMEOUT).await?;
        let made = Self::given(&path, agencies)?;
        for agency in 1..=agencies {
            let (file, rows) = (made.file(agency), rows_of(agency, rows));
            shorten(&file, rows).with_context(|| format!("shorten {}", file.display()))?;
        }
        Ok(made)
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

    /// How many lines all files have: their bets, except a last line without its end.
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

/// Agencies differ in size, over and over: all of `rows`, and less down to two fifths.
fn rows_of(agency: u32, rows: u64) -> u64 {
    let twentieths = 20 - 3 * (u64::from(agency) - 1) % 15;
    (rows * twentieths / 20).max(1)
}

/// Keeps the first `rows` lines of a file.
fn shorten(file: &Path, rows: u64) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(file)?);
    let (mut bytes, mut line) = (0, Vec::new());
    for _ in 0..rows {
        bytes += reader.read_until(b'\n', &mut line)? as u64;
        line.clear();
    }
    OpenOptions::new().write(true).open(file)?.set_len(bytes)
}
