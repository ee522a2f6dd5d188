//! The question: what an agency's client takes for reading, checking and sending its bets.
//!
//! The client program as it is, with its defaults, and one instance.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::Instant;

use super::cli::BenchOptions;
use super::instances::{Instances, WINNING_NUMBER, memory_mib, processor_time};
use super::place::Place;
use super::results::{BETS_PER_SECOND, BenchResult, MEMORY, Measure, Role, Sample, Unit};
use super::turns::{Entry, Whole};
use harness::bets_dir::{BetsDirectory, Generate};
use harness::numbers::grouped;
use harness::raw_connection::RawConnection;

/// The agency that sends, and one that closes last, so that the client is there to be looked at.
const AGENCIES: u32 = 2;

/// How long a client may take to read, and to send.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(600);

static READING: Measure = Measure::less("reading_s", "reading s", Unit::Seconds);
static SENDING: Measure = Measure::less("sending_s", "sending s", Unit::Seconds);
static PROCESSOR: Measure =
    Measure::less("processor_ns_per_bet", "client CPU ns/bet", Unit::Nanoseconds);

const NOTES: [&str; 2] = [
    "Reading goes from the start of the process to a file that is read and checked whole; sending \
     from there to the close, with packets of the default size, each answered before the next. \
     bets/s is over both.",
    "The rows stored were asked of the instance in the end, and are those of the file. The file \
     is in the page cache. The client logs to a file, which is looked at every 2 ms.",
];

/// Measures files of all sizes.
///
/// # Errors
/// The client or the instance fails.
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let mut cases = Vec::new();
    for rows in options.bets(&[1_000_000], 1_000_000) {
        let name = format!("a file of {} bets", grouped(rows));
        place.note(&format!("client: {name}"));
        let directory = &place.directory("client")?;
        let bets = Generate { agencies: 1, rows, seed: 1, winner_number: WINNING_NUMBER };
        let bets = &BetsDirectory::generate(&place.binary, directory.path(), bets).await?;
        let sending = Whole(async || send(place, rows, bets, directory.path()).await);
        let entries = vec![Entry::new("client", Role::Ours, sending)];
        cases.push(place.measure(name, &[("bets", rows)], entries).await?);
    }
    Ok(BenchResult {
        question: "client",
        title: "bets that a client reads, checks and sends in a second",
        cases,
        notes: NOTES.to_vec(),
    })
}

/// Has a client send its file to a new lottery, whose volume is in `directory`.
async fn send(
    place: &Place,
    rows: u64,
    bets: &BetsDirectory,
    directory: &Path,
) -> anyhow::Result<Sample> {
    let volume = tempfile::tempdir_in(directory).context("make a directory")?;
    let instances = Instances::start(&place.binary, 1, AGENCIES, volume.path()).await?;
    let start = Instant::now();
    let launch = instances.0.client_launch(1, bets.path());
    let mut client = instances.0.spawn_client(1, launch)?;
    let process = client.process();
    let mut times = Vec::new();
    for action in ["bets_read", "agencia_cerrada"] {
        process.wait_for(action, CLIENT_TIMEOUT, |line| line.is(action, "success")).await?;
        times.push(start.elapsed().as_secs_f64());
    }
    let &[reading, both] = times.as_slice() else { bail!("two times were taken") };
    let (processor, memory) = (processor_time(process)?, memory_mib(process)?);
    let mut connection = RawConnection::open(instances.address()?).await?;
    let status = connection.ask("AgencyStatus:1").await?;
    let is_right = status.starts_with(&format!("AgencyStatusResponse:{rows};"));
    ensure!(is_right, "{status}, but the file has {rows} rows");
    connection.ask(&format!("AgencyClose:{AGENCIES};0")).await?;
    let end = client.wait(CLIENT_TIMEOUT).await?;
    ensure!(end.status.success(), client.process().failure(format!("ended with {}", end.status)));
    instances.stop().await?;
    Ok(vec![
        (&BETS_PER_SECOND, rows as f64 / both),
        (&READING, reading),
        (&SENDING, both - reading),
        (&PROCESSOR, processor.as_nanos() as f64 / rows.max(1) as f64),
        (&MEMORY, memory),
    ])
}
