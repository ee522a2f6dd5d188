//! The question: how long an instance takes from its start to its first answer.
//!
//! What it knows of the bets it reads from the file; reading the file alone is the limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use super::cli::Options;
use super::instances::Instances;
use super::outcome::{Case, MEMORY, Measure, Outcome, Role, Sample, Unit};
use super::place::Place;
use super::stored::Stored;
use super::turns::{Contestant, Entry, Pending, take_turns};
use harness::numbers::grouped;
use harness::raw_connection::RawConnection;

const AGENCIES: u32 = 5;

/// How long between two attempts to connect; what is measured may be so much too long.
const CONNECT_PAUSE: Duration = Duration::from_millis(1);

/// How long it may take until somebody listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the file the limit reads at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

static TIME: Measure = Measure::less("seconds", "s", Unit::Seconds);
static PROCESSOR: Measure = Measure::less("processor_s", "CPU s", Unit::Seconds);

const NOTES: [&str; 2] = [
    "From the start of the process to its answer to AgencyStatus. The file is in the page cache; \
     the limit reads it, and does nothing with it.",
    "The bets are the same 10,000 over and over; the answer has the rows that were written.",
];

/// Measures all cases.
///
/// # Errors
/// An instance does not start, or has other rows than there are.
pub async fn ask(options: &Options, place: &Place) -> anyhow::Result<Outcome> {
    let mut cases = Vec::new();
    for rows in options.bets(&[0, 10_000_000, 50_000_000], 10_000_000) {
        let name = format!("{} bets stored", grouped(rows));
        place.note(&format!("start: {name}"));
        let stored = Rc::new(Stored::write(rows, AGENCIES, place).await?);
        let started = Started { binary: place.binary.clone(), stored: Rc::clone(&stored) };
        let entries: Vec<Entry> =
            vec![Entry::Present(Box::new(started)), Entry::Present(Box::new(Reading { stored }))];
        let standings = take_turns(entries, options.effort(), &place.stop).await?;
        cases.push(Case { name, parameters: vec![("bets", rows)], standings });
    }
    Ok(Outcome {
        question: "start",
        title: "from the start of an instance to its first answer".to_owned(),
        cases,
        notes: NOTES.map(str::to_owned).to_vec(),
    })
}

/// An instance that starts on what is stored.
struct Started {
    binary: PathBuf,
    stored: Rc<Stored>,
}

impl Started {
    async fn start(&self) -> anyhow::Result<Sample> {
        let start = Instant::now();
        let instances = Instances::launch(&self.binary, 1, AGENCIES, self.stored.path())?;
        let address = instances.addresses().next().context("an instance")?;
        let mut connection = loop {
            match RawConnection::open(address).await {
                Ok(connection) => break connection,
                Err(error) if start.elapsed() > LISTEN_TIMEOUT => return Err(error),
                Err(_) => sleep(CONNECT_PAUSE).await,
            }
        };
        let answer = connection.ask("AgencyStatus:1").await?;
        let took = start.elapsed();
        let rows = self.stored.rows().first().copied().unwrap_or_default();
        let is_right = answer.starts_with(&format!("AgencyStatusResponse:{rows};"));
        ensure!(is_right, "{answer}, but {rows} rows were written");
        let (processor, memory) = (instances.processor_time()?, instances.memory_mib()?);
        drop(connection);
        instances.stop().await?;
        let processor = processor.as_secs_f64();
        Ok(vec![(&TIME, took.as_secs_f64()), (&PROCESSOR, processor), (&MEMORY, memory)])
    }
}

impl Contestant for Started {
    fn name(&self) -> String {
        "an instance".to_owned()
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn round(&mut self, _time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.start())
    }
}

/// Somebody who only reads the file.
struct Reading {
    stored: Rc<Stored>,
}

impl Reading {
    /// On another thread: this one has to hear signals.
    async fn read(&self) -> anyhow::Result<Sample> {
        let path = self.stored.volume().bets();
        let took = tokio::task::spawn_blocking(move || time_reading(&path));
        let took = took.await.context("follow the reading")?.context("read the stored bets")?;
        Ok(vec![(&TIME, took.as_secs_f64())])
    }
}

fn time_reading(path: &Path) -> io::Result<Duration> {
    let mut block = vec![0; READ_BYTES];
    let start = Instant::now();
    let mut file = File::open(path)?;
    while file.read(&mut block)? > 0 {}
    Ok(start.elapsed())
}

impl Contestant for Reading {
    fn name(&self) -> String {
        "reading the file".to_owned()
    }

    fn role(&self) -> Role {
        Role::Limit
    }

    fn round(&mut self, _time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.read())
    }
}
