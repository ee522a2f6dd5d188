//! The question: how long an instance takes from its start to its first answer.
//!
//! What it knows of the bets it reads from the file; reading the file alone is the limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use super::cli::BenchOptions;
use super::instances::Instances;
use super::place::Place;
use super::results::{BenchResult, MEMORY, Measure, Role, Sample, Unit};
use super::stored::Stored;
use super::turns::{Entry, Whole};
use harness::numbers::grouped;
use harness::raw_connection::RawConnection;

const AGENCIES: u32 = 5;

/// How much of the file the limit reads at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

static TIME: Measure = Measure::less("seconds", "s", Unit::Seconds);
static PROCESSOR: Measure = Measure::less("processor_s", "CPU s", Unit::Seconds);

const NOTES: [&str; 2] = [
    "From the start of the process to its answer to AgencyStatus. Its log, which says where it \
     listens, is read every 2 ms. The file is in the page cache; the limit reads it, and does \
     nothing with it.",
    "The bets are the same 10,000 over and over; the answer has the rows that were written.",
];

/// Measures all cases.
///
/// # Errors
/// An instance does not start, or has other rows than there are.
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let mut cases = Vec::new();
    for rows in options.bets(&[0, 10_000_000, 50_000_000], 10_000_000) {
        let name = format!("{} bets stored", grouped(rows));
        place.note(&format!("start: {name}"));
        let stored = &Stored::write(rows, AGENCIES, place).await?;
        let starting = Whole(async || start(&place.binary, stored).await);
        let reading = Whole(async || read(stored.volume().bets()).await);
        let entries = vec![
            Entry::new("an instance", Role::Ours, starting),
            Entry::new("reading the file", Role::Limit, reading),
        ];
        cases.push(place.measure(name, &[("bets", rows)], entries).await?);
    }
    Ok(BenchResult {
        question: "start",
        title: "from the start of an instance to its first answer",
        cases,
        notes: NOTES.to_vec(),
    })
}

/// Starts an instance on what is stored.
async fn start(binary: &Path, stored: &Stored) -> anyhow::Result<Sample> {
    let start = Instant::now();
    let instances = Instances::start(binary, 1, AGENCIES, stored.place.path()).await?;
    let mut connection = RawConnection::open(instances.address()?).await?;
    let answer = connection.ask("AgencyStatus:1").await?;
    let took = start.elapsed();
    let rows = stored.rows.first().copied().unwrap_or_default();
    let is_right = answer.starts_with(&format!("AgencyStatusResponse:{rows};"));
    ensure!(is_right, "{answer}, but {rows} rows were written");
    let (processor, memory) = (instances.processor_time()?, instances.memory_mib()?);
    drop(connection);
    instances.stop().await?;
    let processor = processor.as_secs_f64();
    Ok(vec![(&TIME, took.as_secs_f64()), (&PROCESSOR, processor), (&MEMORY, memory)])
}

/// Only reads the file. On another thread: this one has to hear signals.
async fn read(path: PathBuf) -> anyhow::Result<Sample> {
    let reading = tokio::task::spawn_blocking(move || -> io::Result<Duration> {
        let mut block = vec![0; READ_BYTES];
        let start = Instant::now();
        let mut file = File::open(path)?;
        while file.read(&mut block)? > 0 {}
        Ok(start.elapsed())
    });
    let took = reading.await.context("follow the reading")?.context("read the stored bets")?;
    Ok(vec![(&TIME, took.as_secs_f64())])
}
