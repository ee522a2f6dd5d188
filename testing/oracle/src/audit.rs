//! The independent count: what was stored and announced, against the files of bets.
//!
//! It shares no code with the server or the protocol: it reads all files by itself, with the csv
//! crate, and computes winners and digests from the files of bets. It only reads.
//!
//! **Invariant**: whatever differs is a [`Problem`]; no problem means that every row is stored
//! exactly once, in its place, field by field, and that the draw is the one that had to be.

mod record;
mod rows;

pub use record::{other_draws, time_of_draw};

use std::fmt;

use anyhow::Context as _;

use harness::bets_dir::BetsDirectory;
use harness::volume::Volume;

/// What had to come out, and where it should have.
#[derive(Debug)]
pub struct Expected<'e> {
    /// The files that were sent.
    pub bets: &'e BetsDirectory,
    /// Where they should be stored.
    pub volume: &'e Volume,
    /// The number that wins, 0..=9999.
    pub winner_number: u16,
}

/// What came out.
#[derive(Debug)]
pub struct Audit {
    /// All agencies, in the order of their numbers.
    pub agencies: Vec<AgencyAudit>,
    /// Every difference.
    pub problems: Vec<Problem>,
}

/// One agency as its file says it should be, and how much of that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgencyAudit {
    /// Its number.
    pub agency: u32,
    /// How many bets its file has.
    pub bets: u64,
    /// How many rows are stored for it, right or wrong.
    pub stored: u64,
    /// The documents of its winners, in the order of its file.
    pub winners: Vec<String>,
    /// The digest of its file's rows, 16 hex digits.
    pub digest: String,
}

/// The documents that an agency got, and from where.
#[derive(Debug)]
pub struct Announced<'a> {
    /// The agency's number.
    pub agency: u32,
    /// Where they were announced: `standard output`.
    pub place: &'static str,
    /// The documents.
    pub documents: &'a [String],
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Rows of the agency's file are not stored. In the middle of a lottery that is no problem.
    #[error("agency {agency}: {rows} rows are not stored, from row {row} on")]
    Missing {
        /// The agency's number.
        agency: u32,
        /// How many are missing.
        rows: u64,
        /// The first of them, from 1.
        row: u64,
    },
    /// Anything else: the file and the place, what is there, and what should be.
    #[error("{0}")]
    Wrong(String),
}

impl Audit {
    /// Counts the stored rows against the files of bets, and nothing else: what is stored of a
    /// lottery that may be in the middle. Rows that are not stored yet are [`Problem::Missing`].
    ///
    /// # Errors
    /// A file could not be read, or a file of bets is malformed.
    pub fn of_rows(expected: &Expected<'_>) -> anyhow::Result<Self> {
        let mut problems = Vec::new();
        let agencies = rows::compare(expected, &mut problems).context("count what is stored")?;
        Ok(Self { agencies, problems })
    }

    /// Counts the stored rows, the closes and the draw of a lottery that should be done.
    ///
    /// # Errors
    /// As [`Audit::of_rows`].
    pub fn of_draw(expected: &Expected<'_>) -> anyhow::Result<Self> {
        let mut audit = Self::of_rows(expected)?;
        record::check_closes(expected, &mut audit.problems).context("count the closes")?;
        record::check_draw(expected, &audit.agencies, &mut audit.problems);
        Ok(audit)
    }

    /// Compares what an agency was told with what its file says.
    pub fn check_announced(&mut self, announced: &Announced<'_>) {
        let Announced { agency, place, documents } = *announced;
        let audited = self.agencies.iter().find(|audited| audited.agency == agency);
        let wanted = audited.map(|audited| audited.winners.as_slice()).unwrap_or_default();
        if documents != wanted {
            let (announced, wanted) = (brief(documents), brief(wanted));
            self.problems.push(Problem::Wrong(format!(
                "agency {agency}: its winners on {place} are {announced} and should be {wanted}"
            )));
        }
    }

    /// Every problem, one a line; empty if there is none.
    #[must_use]
    pub fn problem_lines(&self) -> String {
        self.problems.iter().map(|problem| format!("{problem}\n")).collect()
    }
}

/// The first few of `values`, and how many there are.
fn brief<T: fmt::Display>(values: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = values.iter().take(SHOWN).map(T::to_string).collect();
    let more = if values.len() > SHOWN { ", …" } else { "" };
    format!("[{}{more}] ({})", shown.join(", "), values.len())
}
