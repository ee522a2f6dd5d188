//! The question: how long after the last close every agency that waits has its winners.
//!
//! All agencies but one have closed, each waits on a connection of its own; the clock runs from
//! the last close to the last answer. Once with many bets stored, once with many agencies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use super::cli::Options;
use super::instances::{Instances, counted};
use super::outcome::{Case, MEMORY, Measure, Outcome, Role, Sample, Unit};
use super::place::Place;
use super::stored::Stored;
use super::turns::{Contestant, Entry, Pending, take_turns};
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
/// An instance fails, or tells other winners than there are.
pub async fn ask(options: &Options, place: &Place) -> anyhow::Result<Outcome> {
    let mut cases = Vec::new();
    for (rows, agencies) in settings(options) {
        let name = format!("{} bets, {} agencies waiting", grouped(rows), grouped(agencies.into()));
        place.note(&format!("draw: {name}"));
        let stored = Rc::new(Stored::write(rows, agencies, place).await?);
        let instances = if options.instances.is_empty() { &[1, 3] } else { &*options.instances };
        let enter = |instances: &u8| {
            let (binary, stored) = (place.binary.clone(), Rc::clone(&stored));
            Entry::Present(Box::new(Drawn { binary, instances: *instances, stored }))
        };
        let entries = instances.iter().map(enter).collect();
        let standings = take_turns(entries, options.effort(), &place.stop).await?;
        let parameters = vec![("bets", rows), ("agencies", agencies.into())];
        cases.push(Case { name, parameters, standings });
    }
    Ok(Outcome {
        question: "draw",
        title: "from the last close to the last winner's answer".to_owned(),
        cases,
        notes: NOTES.map(str::to_owned).to_vec(),
    })
}

/// Rows and agencies of each case.
fn settings(options: &Options) -> Vec<(u64, u32)> {
    let rows = options.bets(&[1_000, 100_000, 10_000_000, 50_000_000], 10_000_000);
    let waiting = match options.waiting.as_slice() {
        [] if options.quick => vec![100, 1_000],
        [] => vec![100, 1_000, 10_000],
        given => given.to_vec(),
    };
    let by_rows = rows.into_iter().map(|rows| (rows, AGENCIES));
    by_rows.chain(waiting.into_iter().map(|many| (ROWS_EACH * u64::from(many), many))).collect()
}

/// So many instances that hold the draw over what is stored.
struct Drawn {
    binary: PathBuf,
    instances: u8,
    stored: Rc<Stored>,
}

impl Drawn {
    async fn draw(&self) -> anyhow::Result<Sample> {
        let (stored, agencies) = (&self.stored, self.stored.agencies());
        stored.reopen()?;
        let instances =
            Instances::start(&self.binary, self.instances, agencies, stored.path()).await?;
        let mut waiting = self.close_all_but_the_last(&instances).await?;
        let last = format!("AgencyClose:{agencies};{}", stored.rows().last().unwrap_or(&0));
        let mut closing = open(instances.addresses().next().context("an instance")?).await?;
        let before = instances.processor_time()?;
        let start = Instant::now();
        close(&mut closing, &last).await?;
        let mut first = None;
        for (connection, winners) in waiting.iter_mut().zip(stored.answers()) {
            let told = connection.line().await.context("wait for winners")?;
            ensure!(told == winners, "told {told:.100}…, not {winners:.100}…");
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
        &self,
        instances: &Instances,
    ) -> anyhow::Result<Vec<RawConnection>> {
        let agencies: Vec<_> =
            (1_u32..).zip(self.stored.rows()).zip(instances.addresses()).collect();
        let mut waiting = Vec::with_capacity(agencies.len());
        for some in agencies.chunks(OPENED_AT_ONCE) {
            let mut opened = Vec::with_capacity(some.len());
            for ((agency, rows), address) in some {
                let mut connection = open(*address).await?;
                if *agency < self.stored.agencies() {
                    connection.send(format!("AgencyClose:{agency};{rows}\n")).await?;
                } else {
                    connection.send(format!("AgencyStatus:{agency}\n")).await?;
                }
                opened.push(connection);
            }
            for connection in &mut opened {
                let answer = connection.line().await?;
                let is_right = answer == CLOSED || answer.starts_with("AgencyStatusResponse:");
                ensure!(is_right, "{answer} instead of {CLOSED}");
            }
            waiting.append(&mut opened);
        }
        for ((agency, _), connection) in agencies.iter().map(|(it, _)| it).zip(&mut waiting) {
            connection.send(format!("WinnersRequest:{agency}\n")).await?;
        }
        Ok(waiting)
    }
}

const CLOSED: &str = "AgencyCloseResponse:0";

async fn open(address: SocketAddr) -> anyhow::Result<RawConnection> {
    RawConnection::open(address).await.with_context(|| format!("connect to {address}"))
}

async fn close(connection: &mut RawConnection, packet: &str) -> anyhow::Result<()> {
    let answer = connection.ask(packet).await?;
    ensure!(answer == CLOSED, "{answer} instead of {CLOSED}");
    Ok(())
}

impl Contestant for Drawn {
    fn name(&self) -> String {
        counted(self.instances.into())
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn round(&mut self, _time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.draw())
    }
}
