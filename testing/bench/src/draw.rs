//! The question: how long after the last close every agency that waits has its winners.
//!
//! All agencies but one have closed, each waits on a connection of its own; the clock runs from
//! the last close to the last answer. Once with many bets stored, once with many agencies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use super::cli::BenchOptions;
use super::instances::{Instances, counted};
use super::place::Place;
use super::results::{BenchResult, MEMORY, Measure, Role, Sample, Unit};
use super::stored::Stored;
use super::turns::{Entry, Whole};
use harness::numbers::grouped;
use harness::raw_connection::RawConnection;

/// How many agencies there are where bets count.
const AGENCIES: u32 = 5;

/// How many bets each agency has where agencies count.
const ROWS_EACH: u64 = 10;

/// How many connections are opened before any of them is used: fewer than may wait to be accepted.
const OPENED_AT_ONCE: usize = 500;

static LAST_ANSWER: Measure = Measure::less("last_answer_ms", "all told ms", Unit::Milliseconds);
static AGENCY_1_ANSWER: Measure =
    Measure::less("agency_1_answer_ms", "agency 1 told ms", Unit::Milliseconds);
static PROCESSOR: Measure = Measure::less("processor_ms", "CPU ms", Unit::Milliseconds);

const NOTES: [&str; 2] = [
    "From the last close to the last answer, everything included: the look at the bets, the \
     draw's record written and synced, all winners sent. CPU is that of all instances meanwhile; \
     MiB the most that one of them had resident.",
    "The bets are the same 10,000 over and over, in the page cache. Every agency's winners were \
     compared with those that were written.",
];

/// Measures all cases.
///
/// # Errors
/// An instance fails, or sends other winners than there are.
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let mut cases = Vec::new();
    for (rows, agencies) in settings(options) {
        let name = format!("{} bets, {} agencies waiting", grouped(rows), grouped(agencies.into()));
        place.note(&format!("draw: {name}"));
        let stored = &Stored::write(rows, agencies, place).await?;
        let enter = |count: u8| {
            let draw = Whole(async move || draw(&place.binary, count, stored).await);
            Entry::new(&counted(count), Role::Ours, draw)
        };
        let entries = options.instances().into_iter().map(enter).collect();
        let parameters = [("bets", rows), ("agencies", agencies.into())];
        cases.push(place.measure(name, &parameters, entries).await?);
    }
    Ok(BenchResult {
        question: "draw",
        title: "from the last close to the last winner's answer",
        cases,
        notes: NOTES.to_vec(),
    })
}

/// Rows and agencies of each case.
fn settings(options: &BenchOptions) -> Vec<(u64, u32)> {
    let rows = options.bets(&[1_000, 100_000, 10_000_000, 50_000_000], 10_000_000);
    let waiting = match options.waiting.as_slice() {
        [] if options.quick => vec![100, 1_000],
        [] => vec![100, 1_000, 10_000],
        given => given.to_vec(),
    };
    let by_rows = rows.into_iter().map(|rows| (rows, AGENCIES));
    by_rows.chain(waiting.into_iter().map(|many| (ROWS_EACH * u64::from(many), many))).collect()
}

/// Has the draw held by `count` instances over what is stored.
async fn draw(binary: &Path, count: u8, stored: &Stored) -> anyhow::Result<Sample> {
    let agencies = stored.agencies();
    stored.reopen()?;
    let instances = Instances::start(binary, count, agencies, stored.place.path()).await?;
    let mut waiting = close_all_but_the_last(&instances, stored).await?;
    let last = format!("AgencyClose:{agencies};{}", stored.rows.last().unwrap_or(&0));
    let mut closing = RawConnection::open(instances.address()?).await?;
    let before = instances.processor_time()?;
    let start = Instant::now();
    let answer = closing.ask(&last).await?;
    ensure!(answer == CLOSED, "{answer} instead of {CLOSED}");
    let mut first = None;
    for (connection, winners) in waiting.iter_mut().zip(stored.answers()) {
        let answer = connection.line().await.context("wait for winners")?;
        ensure!(answer == winners, "{answer:.100}… instead of {winners:.100}…");
        first.get_or_insert_with(|| start.elapsed());
    }
    let all = start.elapsed();
    let processor = instances.processor_time()?.saturating_sub(before);
    let memory = instances.memory_mib()?;
    drop((waiting, closing));
    instances.stop().await?;
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok(vec![
        (&AGENCY_1_ANSWER, first.map_or(f64::NAN, millis)),
        (&LAST_ANSWER, millis(all)),
        (&PROCESSOR, millis(processor)),
        (&MEMORY, memory),
    ])
}

/// A connection of each agency that waits for winners; all but the last agency have closed.
async fn close_all_but_the_last(
    instances: &Instances,
    stored: &Stored,
) -> anyhow::Result<Vec<RawConnection>> {
    let addresses = instances.addresses().into_iter().cycle();
    let agencies: Vec<_> = (1_u32..).zip(&stored.rows).zip(addresses).collect();
    let mut waiting = Vec::with_capacity(agencies.len());
    for some in agencies.chunks(OPENED_AT_ONCE) {
        let mut opened = Vec::with_capacity(some.len());
        for ((agency, rows), address) in some {
            let mut connection = RawConnection::open(*address).await?;
            let packet = if *agency < stored.agencies() {
                format!("AgencyClose:{agency};{rows}\n")
            } else {
                format!("AgencyStatus:{agency}\n")
            };
            connection.send(packet).await?;
            opened.push((*agency, connection));
        }
        for (_, connection) in &mut opened {
            let answer = connection.line().await?;
            let is_right = answer == CLOSED || answer.starts_with("AgencyStatusResponse:");
            ensure!(is_right, "{answer} instead of {CLOSED}");
        }
        waiting.append(&mut opened);
    }
    for (agency, connection) in &mut waiting {
        connection.send(format!("WinnersRequest:{agency}\n")).await?;
    }
    Ok(waiting.into_iter().map(|(_, connection)| connection).collect())
}

const CLOSED: &str = "AgencyCloseResponse:0";
