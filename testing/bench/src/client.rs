//! The question: what an agency's client takes for reading, checking and sending its bets.
//!
//! The client program as it is, with its defaults, and one instance.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::time::Instant;

use super::cli::Options;
use super::daemon::Daemon;
use super::instances::{Instances, WINNING_NUMBER};
use super::outcome::{BETS_PER_SECOND, Case, MEMORY, Measure, Outcome, Role, Sample, Unit};
use super::place::Place;
use super::turns::{Contestant, Entry, Pending, take_turns};
use harness::bets_dir::{BetsDirectory, Generate};
use harness::numbers::grouped;
use harness::process::Launch;
use harness::processes;
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
pub async fn ask(options: &Options, place: &Place) -> anyhow::Result<Outcome> {
    let mut cases = Vec::new();
    for rows in options.bets(&[1_000_000], 1_000_000) {
        let name = format!("a file of {} bets", grouped(rows));
        place.note(&format!("client: {name}"));
        let directory = place.directory("client")?;
        let bets = Generate { agencies: 1, rows, seed: 1, winner_number: WINNING_NUMBER };
        let bets = BetsDirectory::generate(&place.binary, directory.path(), bets).await?;
        let client = Client { binary: place.binary.clone(), rows, bets, directory };
        let entries = vec![Entry::Present(Box::new(client))];
        let standings = take_turns(entries, options.effort(), &place.stop).await?;
        cases.push(Case { name, parameters: vec![("bets", rows)], standings });
    }
    Ok(Outcome {
        question: "client",
        title: "bets that a client reads, checks and sends in a second".to_owned(),
        cases,
        notes: NOTES.map(str::to_owned).to_vec(),
    })
}

/// A client that sends its file to a new lottery in each round.
struct Client {
    binary: PathBuf,
    rows: u64,
    bets: BetsDirectory,
    directory: TempDir,
}

impl Client {
    async fn send(&self) -> anyhow::Result<Sample> {
        let volume = tempfile::tempdir_in(self.directory.path()).context("make a directory")?;
        let instances = Instances::start(&self.binary, 1, AGENCIES, volume.path()).await?;
        let address = instances.addresses().next().context("an instance")?;
        let launch = Launch::new(&self.binary, &["client"])
            .with("CLI_BETS_DIR", self.bets.path().display())
            .with("CLI_FALLBACK", "no")
            .with("CLI_ID", 1)
            .with("CLI_SERVER_ADDRESS", address);
        let start = Instant::now();
        let mut client = Daemon::launch("client-1", &launch, volume.path())?;
        logged(&mut client, "bets_read").await?;
        let reading = start.elapsed();
        logged(&mut client, "agencia_cerrada").await?;
        let both = start.elapsed();
        let id = client.id()?;
        let (processor, memory) = (processes::processor_time(id)?, processes::memory_high_mib(id)?);
        self.finish(client, RawConnection::open(address).await?).await?;
        instances.stop().await?;
        Ok(vec![
            (&BETS_PER_SECOND, self.rows as f64 / both.as_secs_f64()),
            (&READING, reading.as_secs_f64()),
            (&SENDING, both.saturating_sub(reading).as_secs_f64()),
            (&PROCESSOR, processor.as_nanos() as f64 / self.rows.max(1) as f64),
            (&MEMORY, memory),
        ])
    }

    /// Has the draw held, and checks what was stored.
    async fn finish(&self, client: Daemon, mut connection: RawConnection) -> anyhow::Result<()> {
        let status = connection.ask("AgencyStatus:1").await?;
        let wanted = format!("AgencyStatusResponse:{};", self.rows);
        ensure!(status.starts_with(&wanted), "{status}, but the file has {} rows", self.rows);
        connection.ask(&format!("AgencyClose:{AGENCIES};0")).await?;
        client.end().await
    }
}

/// Waits until the client logs the success of `action`.
async fn logged(client: &mut Daemon, action: &str) -> anyhow::Result<()> {
    let logged = client.logs(CLIENT_TIMEOUT, |line| line.is(action, "success")).await;
    logged.with_context(|| format!("wait for the client to log {action}"))
}

impl Contestant for Client {
    fn name(&self) -> String {
        "client".to_owned()
    }

    fn role(&self) -> Role {
        Role::Ours
    }

    fn round(&mut self, _time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.send())
    }
}
