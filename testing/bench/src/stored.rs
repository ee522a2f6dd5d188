//! A volume that holds many bets already, written without a server.
//!
//! Made of the place's bets, over and over, by agencies that took turns: an instance cannot tell
//! it from one that was filled by clients, and it is there at the speed of the disk.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use tempfile::TempDir;

use super::instances::WINNING_NUMBER;
use super::place::Place;
use harness::volume::Volume;

/// How many rows an agency stores before the next has its turn, if it has so many.
const TURN_ROWS_MAX: u64 = 100;

/// How much is written at once, in bytes.
const WRITE_BYTES: usize = 1024 * 1024;

/// A volume with bets in it, and what its draw must come to.
pub struct Stored {
    /// Where it is.
    pub place: TempDir,
    /// How many rows each agency has stored, from agency 1 on.
    pub rows: Vec<u64>,
    winners: Vec<Vec<String>>,
}

impl Stored {
    /// Writes `rows` bets of `agencies`. They are durable, and in the page cache.
    ///
    /// # Errors
    /// The bets cannot be read or written.
    pub async fn write(rows: u64, agencies: u32, place: &Place) -> anyhow::Result<Self> {
        let source = fs::read_to_string(place.bets.file(1)).context("read the bets")?;
        let place = place.directory("stored")?;
        let count = agencies as usize;
        let mut stored = Self { place, rows: vec![0; count], winners: vec![Vec::new(); count] };
        // On another thread: this one has to hear signals.
        let writing = tokio::task::spawn_blocking(move || {
            stored.write_rows(rows, &source).context("write stored bets")?;
            Ok(stored)
        });
        writing.await.context("follow the writing")?
    }

    fn write_rows(&mut self, rows: u64, source: &str) -> anyhow::Result<()> {
        let bets: Vec<_> = source.lines().map(|bet| (bet, winning_document(bet))).collect();
        let file = File::create(self.volume().bets())?;
        let mut out = BufWriter::with_capacity(WRITE_BYTES, &file);
        let count = self.rows.len();
        let turn = (rows / count as u64).clamp(1, TURN_ROWS_MAX);
        for (row, (bet, winner)) in (0..rows).zip(bets.iter().cycle()) {
            let place = (row / turn) as usize % count;
            writeln!(out, "{},{bet}", place + 1)?;
            if let (Some(rows), Some(winners)) =
                (self.rows.get_mut(place), self.winners.get_mut(place))
            {
                *rows += 1;
                winners.extend(winner.map(str::to_owned));
            }
        }
        out.flush()?;
        Ok(file.sync_data()?)
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> Volume {
        Volume::new(self.place.path())
    }

    /// How many agencies there are.
    #[must_use]
    pub fn agencies(&self) -> u32 {
        self.rows.len() as u32
    }

    /// What each agency must be sent when the draw is held, from agency 1 on.
    pub fn answers(&self) -> impl Iterator<Item = String> {
        self.winners.iter().map(|documents| format!("WinnersResponse:{}", documents.join(";")))
    }

    /// Takes back all closes and the draw, while no instance serves it.
    ///
    /// # Errors
    /// A file is there and cannot be removed.
    pub fn reopen(&self) -> anyhow::Result<()> {
        let files = [self.volume().agencies_closed(), self.volume().draw()];
        files.iter().filter(|file| file.exists()).try_for_each(fs::remove_file).context("reopen")
    }
}

/// The document of a bet, `first,last,document,birthdate,number`, if it wins.
fn winning_document(bet: &str) -> Option<&str> {
    let mut fields = bet.rsplit(',');
    let number: u16 = fields.next()?.parse().ok()?;
    fields.nth(1).filter(|_| number == WINNING_NUMBER)
}
