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
    /// The last line of `bets.csv` has no end.
    #[error("bets.csv does not end with a line end: its last row is torn")]
    TornEnd,
    /// A quote swallows lines, or there are empty ones.
    #[error("bets.csv has {lines} lines and {rows} rows: some lines are no rows")]
    Lines {
        /// How many line ends the file has.
        lines: u64,
        /// How many CSV records it has.
        rows: u64,
    },
    /// A row of no agency that takes part.
    #[error("{rows} rows of bets.csv belong to no agency of this lottery; the first is row {row}")]
    Foreign {
        /// How many such rows there are.
        rows: u64,
        /// The place of the first in `bets.csv`, from 1.
        row: u64,
    },
    /// A stored row is not the one of the agency's file.
    #[error(
        "agency {agency}: {rows} stored rows differ from its file; \
         row {row} is stored as \"{stored}\" and should be \"{wanted}\""
    )]
    Differ {
        /// The agency's number.
        agency: u32,
        /// How many rows differ.
        rows: u64,
        /// The first that does, from 1.
        row: u64,
        /// What is stored there.
        stored: String,
        /// What the file has.
        wanted: String,
    },
    /// Rows of the agency's file are not stored.
    #[error("agency {agency}: {rows} rows are not stored, from row {row} on")]
    Missing {
        /// The agency's number.
        agency: u32,
        /// How many are missing.
        rows: u64,
        /// The first of them, from 1.
        row: u64,
    },
    /// More rows are stored than the agency's file has.
    #[error("agency {agency}: {rows} rows are stored beyond the end of its file")]
    Surplus {
        /// The agency's number.
        agency: u32,
        /// How many are too many.
        rows: u64,
    },
    /// The closed agencies are not all agencies.
    #[error("agencies_closed.txt: {0}")]
    Closed(String),
    /// There is no draw, or none that can be read.
    #[error("draw.json: {0}")]
    NoDraw(String),
    /// The draw's record says something else than the files of bets.
    #[error("draw.json: {what} is {recorded} and should be {wanted}")]
    Draw {
        /// Which entry it is.
        what: String,
        /// What is recorded.
        recorded: String,
        /// What the files say.
        wanted: String,
    },
    /// An agency was told other winners.
    #[error("agency {agency}: its winners on {place} are {announced} and should be {wanted}")]
    Announced {
        /// The agency's number.
        agency: u32,
        /// Where they were announced.
        place: &'static str,
        /// What was announced.
        announced: String,
        /// What should have been.
        wanted: String,
    },
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
            self.problems.push(Problem::Announced { agency, place, announced, wanted });
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
