//! Generates bets: realistic ones, from a seed, with a given number of winners.
//!
//! **Invariant**: the same [`GeneratedBets`] always give the same bytes, on every machine and in
//! every version. So the random numbers are those of SplitMix64 (Steele, Lea, Flood 2014), which is
//! implemented here: a library's generator may change between versions.

mod names;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::limits::NUMBER_MAX;
use protocol::{AgencyId, BetNumber};

use crate::atomic_file;
use crate::limits::GENERATED_ROWS_MAX;
use names::{FIRST_NAMES, LAST_NAMES, MIDDLE_NAMES};

/// Documents are in 10,000,000..50,000,000.
const DOCUMENT_MIN: u64 = 10_000_000;
const DOCUMENTS: u64 = GENERATED_ROWS_MAX;

/// Steps of this length reach each document once, because it has no common divisor with
/// [`DOCUMENTS`], whose prime factors are 2 and 5.
const DOCUMENT_STEP: u64 = 27_644_437;

/// The default seed, and the default number of winners and winning number of a file.
pub(crate) const SEED: u64 = 1;
pub(crate) const WINNERS: u64 = 2;
pub(crate) const WINNER_NUMBER: &str = "7574";

/// Whether `agency` is the last one of several: its file has another number of winners.
pub(crate) fn is_last(agency: AgencyId, agencies: u32) -> bool {
    agency.get() == agencies && agencies > 1
}

/// The name of the file of an agency's bets, `agency-<n>.csv`.
#[must_use]
pub fn file_name(agency: AgencyId) -> String {
    format!("agency-{agency}.csv")
}

/// What the generated bets of one agency are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratedBets {
    /// The agency.
    pub agency: AgencyId,
    /// The number of bets, up to [`GENERATED_ROWS_MAX`]. The documents of one file are unique. So
    /// are those of all files with the same row count and seed, up to 40 million rows in total.
    pub rows: u64,
    /// The number of bets on the winning number, spread evenly; at most `rows`.
    pub winners: u64,
    /// The winning number. No other bet is on it.
    pub winner_number: BetNumber,
    /// The seed of the random numbers.
    pub seed: u64,
}

impl GeneratedBets {
    /// Whether the row with this index, from 0, wins. The j-th of w winners is in the middle of the
    /// j-th of w equal parts.
    fn wins(&self, index: u64) -> bool {
        let (rows, winners) = (u128::from(self.rows), u128::from(self.winners.min(self.rows)));
        if winners == 0 {
            return false;
        }
        let part = u128::from(index) * winners / rows;
        let middle = |part: u128| (2 * part + 1) * rows / (2 * winners);
        middle(part) == u128::from(index)
    }
}

/// Writes the bets as CSV without a header: `first,last,document,birthdate,number`, with lines
/// ended by `\n`. Makes many small writes, so `out` should be buffered.
///
/// # Errors
/// The errors of `out`.
pub fn write_bets(bets: &GeneratedBets, out: &mut impl Write) -> io::Result<()> {
    let [first_names, middle_names, last_names] =
        [FIRST_NAMES, MIDDLE_NAMES, LAST_NAMES].map(|names| names.split(',').collect::<Vec<_>>());
    let mut random = SplitMix::new(bets.seed, bets.agency);
    let offset = SplitMix(bets.seed).below(DOCUMENTS);
    let before = (bets.agency.index() as u64).wrapping_mul(bets.rows);
    for index in 0..bets.rows {
        let place = before.wrapping_add(index) % DOCUMENTS;
        let document = DOCUMENT_MIN + (place * DOCUMENT_STEP + offset) % DOCUMENTS;
        out.write_all(random.choose(&first_names).as_bytes())?;
        if random.below(3) == 0 {
            write!(out, " {}", random.choose(&middle_names))?;
        }
        let last_name = random.choose(&last_names);
        let (year, month) = (1940 + random.below(66), 1 + random.below(12));
        let day = 1 + random.below(days(year, month));
        let number = random.number(bets.winner_number);
        let number = if bets.wins(index) { u64::from(bets.winner_number.get()) } else { number };
        writeln!(out, ",{last_name},{document},{year}-{month:02}-{day:02},{number}")?;
    }
    Ok(())
}

fn days(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Writes each of `bets` to its file in `directory`, as a whole or not at all. Without `replace`, no
/// file is written if one of them exists.
///
/// # Errors
/// A file exists, or cannot be written.
pub fn write_files(
    directory: &Path,
    bets: impl Iterator<Item = GeneratedBets>,
    replace: bool,
) -> anyhow::Result<()> {
    let path = |bets: &GeneratedBets| directory.join(file_name(bets.agency));
    let all: Vec<(GeneratedBets, PathBuf)> = bets.map(|bets| (bets, path(&bets))).collect();
    if !replace && let Some((_, path)) = all.iter().find(|(_, path)| path.exists()) {
        anyhow::bail!("{} exists already (--force replaces it)", path.display());
    }
    for (bets, path) in &all {
        fs::create_dir_all(directory)
            .and_then(|()| {
                atomic_file::write(path, |file| {
                    let mut out = BufWriter::new(file);
                    write_bets(bets, &mut out)?;
                    out.flush()
                })
            })
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The generator SplitMix64.
struct SplitMix(u64);

impl SplitMix {
    /// Each agency has another sequence.
    fn new(seed: u64, agency: AgencyId) -> Self {
        let start = Self(seed).next() ^ u64::from(agency.get()).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`. The bias does not matter, because `end` is small.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn choose<'n>(&mut self, names: &[&'n str]) -> &'n str {
        let place = self.below(names.len() as u64) as usize;
        names.get(place).copied().unwrap_or_default()
    }

    /// A number that does not win.
    fn number(&mut self, winner: BetNumber) -> u64 {
        let number = self.below(u64::from(NUMBER_MAX));
        number + u64::from(number >= u64::from(winner.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bets::Bets;
    use std::collections::HashSet;

    fn plan(agency: u32, rows: u64, winners: u64) -> GeneratedBets {
        let (agency, winner_number) =
            (AgencyId::new(agency).unwrap(), BetNumber::new(7574).unwrap());
        GeneratedBets { agency, rows, winners, winner_number, seed: 1 }
    }

    fn text(plan: &GeneratedBets) -> String {
        let mut out = Vec::new();
        write_bets(plan, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const FIRST_ROWS: &str = "\
Milagros,Vera,10822465,1996-05-21,6808
Pilar Nazareno,Farías,38466902,1943-01-06,7574
Candelaria,Cabrera,26111339,1983-09-08,8867
";

    #[test]
    fn a_seed_always_gives_the_same_bets_which_are_valid_with_unique_documents() {
        assert_eq!(text(&plan(1, 3, 1)), FIRST_ROWS);
        assert_ne!(text(&GeneratedBets { seed: 2, ..plan(1, 3, 1) }), FIRST_ROWS);
        let mut documents = HashSet::new();
        for agency in 1..=3 {
            let text = text(&plan(agency, 2000, 2));
            assert_eq!(Bets::read(text.as_bytes()).unwrap().rows(), 2000);
            let mut fields = text.lines().map(|line| line.split(',').nth(2).unwrap().to_owned());
            assert!(fields.all(|document| documents.insert(document)));
        }
    }

    #[test]
    fn the_given_number_of_rows_wins() {
        for (rows, winners, wanted) in
            [(1000, 2, 2), (1000, 0, 0), (7, 3, 3), (5, 5, 5), (5, 9, 5), (1, 1, 1), (0, 2, 0)]
        {
            let text = text(&plan(1, rows, winners));
            let won = text.lines().filter(|line| line.ends_with(",7574")).count();
            assert_eq!(won, wanted, "{winners} of {rows}");
        }
    }

    #[test]
    fn a_file_is_replaced_only_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let write = |agencies, rows, replace| {
            let all = (1..=agencies).map(|agency| plan(agency, rows, 1));
            write_files(directory.path(), all, replace)
        };
        let read = || fs::read_to_string(directory.path().join("agency-1.csv")).unwrap();
        write(1, 2, false).unwrap();
        let error = write(2, 5, false).unwrap_err().to_string();
        assert!(error.ends_with("agency-1.csv exists already (--force replaces it)"), "{error}");
        assert_eq!(read(), text(&plan(1, 2, 1)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        write(1, 5, true).unwrap();
        assert_eq!(read(), text(&plan(1, 5, 1)));
    }
}
