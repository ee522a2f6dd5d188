//! Every stored row against the row of its agency's file in the same place.
//!
//! One pass over `bets.csv`, and one over each file of bets, side by side.

use anyhow::Context as _;
use harness::volume::LineCounter;

use super::{AgencyAudit, Expected, Problem};
use crate::agency_file::AgencyFile;
use crate::stored::{self, text};

/// Compares what is stored with the files of bets.
pub(super) fn compare(
    expected: &Expected<'_>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<AgencyAudit>> {
    let open = |agency| {
        let file = AgencyFile::open(expected.bets, agency, expected.winner_number)?;
        Ok(Agency { file, stored: 0, surplus: 0, differing: 0, first_difference: None })
    };
    let all = (1..=expected.bets.agencies()).map(open);
    let mut agencies = all.collect::<anyhow::Result<Vec<Agency>>>()?;
    let (mut foreign, mut first_foreign) = (0, None);
    let path = expected.volume.bets();
    let read = stored::read(&path, |place, number, row| {
        let index = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let Some(agency) = index.and_then(|index| agencies.get_mut(index)) else {
            foreign += 1;
            first_foreign.get_or_insert(place);
            return Ok(());
        };
        agency.compare(row)
    })?;
    if let Some(row) = first_foreign {
        problems.push(Problem::Wrong(format!(
            "{foreign} rows of bets.csv belong to no agency of this lottery; the first is row {row}"
        )));
    }
    // An unbalanced quote makes one record of many lines: there must be as many lines as records.
    let lines = LineCounter::new(path).count().context("count lines of bets.csv")?;
    if !read.ends_with_a_line {
        let torn = "bets.csv does not end with a line end: its last row is torn";
        problems.push(Problem::Wrong(torn.to_owned()));
    }
    if lines + u64::from(!read.ends_with_a_line) != read.rows {
        problems.push(Problem::Wrong(format!(
            "bets.csv has {lines} lines and {} rows: some lines are no rows",
            read.rows
        )));
    }
    agencies.into_iter().map(|agency| agency.finish(problems)).collect()
}

/// An agency's file, read up to the row that the next stored one must be.
struct Agency {
    file: AgencyFile,
    stored: u64,
    surplus: u64,
    differing: u64,
    first_difference: Option<String>,
}

impl Agency {
    /// Compares a stored row with the next row of the file.
    fn compare(&mut self, stored: &csv::ByteRecord) -> anyhow::Result<()> {
        self.stored += 1;
        if !self.file.advance()? {
            self.surplus += 1;
        } else if !self.file.is(stored) {
            self.differing += 1;
            self.first_difference.get_or_insert_with(|| {
                format!(
                    "row {} is stored as \"{}\" and should be \"{}\"",
                    self.file.head.rows,
                    text(stored.iter().skip(1)),
                    text(self.file.row.iter())
                )
            });
        }
        Ok(())
    }

    /// Reads the rest of the file, none of which is stored.
    fn finish(mut self, problems: &mut Vec<Problem>) -> anyhow::Result<AgencyAudit> {
        while self.file.advance()? {}
        let AgencyFile { agency, head, winners, .. } = self.file;
        let right = self.stored - self.surplus;
        if let Some(first) = self.first_difference {
            let rows = self.differing;
            problems.push(Problem::Wrong(format!(
                "agency {agency}: {rows} stored rows differ from its file; {first}"
            )));
        }
        if right < head.rows {
            problems.push(Problem::Missing { agency, rows: head.rows - right, row: right + 1 });
        }
        if self.surplus > 0 {
            let rows = self.surplus;
            problems.push(Problem::Wrong(format!(
                "agency {agency}: {rows} rows are stored beyond the end of its file"
            )));
        }
        let digest = head.digest();
        Ok(AgencyAudit { agency, bets: head.rows, stored: self.stored, winners, digest })
    }
}
