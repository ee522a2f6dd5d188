//! One client of an agency, as the faults have it: ended, and started again with another batch
//! size, until it ends by itself with its winners.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::tally::{Findings, Tally};
use crate::client_process::{ClientEnd, ClientProcess};
use crate::log::LogLine;
use crate::process::Launch;
use crate::volume::Volume;

/// Longer than any run: the run has a deadline of its own.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What to do to a client.
#[derive(Debug, Clone, Copy)]
pub struct EndClient {
    /// Whether by SIGKILL, or by SIGTERM.
    pub kill: bool,
    /// How long it is away.
    pub down: Duration,
    /// Its next batch size.
    pub batch: u64,
}

/// A client and whoever does things to it.
#[derive(Debug)]
pub struct ClientSeat {
    /// Its agency.
    pub agency: u32,
    /// What it is called, to which the number of its start is added.
    pub name: String,
    /// How it is started.
    pub launch: Launch,
    /// Where.
    pub directory: PathBuf,
    /// What the servers share.
    pub volume: Volume,
    /// What to do.
    pub commands: UnboundedReceiver<EndClient>,
    /// From when on it is to run.
    pub calm: CancellationToken,
    /// What was done.
    pub tally: Tally,
    /// What should not have happened.
    pub findings: Findings,
}

impl ClientSeat {
    /// Runs it to its end.
    ///
    /// # Errors
    /// It could not be started or killed.
    pub async fn run(mut self) -> anyhow::Result<(u32, ClientEnd)> {
        for start in 1.. {
            let name = format!("{}-{start}", self.name);
            let launch = self.launch.clone();
            let mut client = ClientProcess::spawn(&name, self.agency, launch, &self.directory)?;
            let command = tokio::select! {
                end = client.wait(CLIENT_TIMEOUT) => {
                    let end = end?;
                    self.check_acknowledged(&client);
                    if end.code() != Some(0) {
                        let error = client.process().failure(format!("ended with {}", end.status));
                        self.findings.add(format!("{error:#}"));
                    }
                    return Ok((self.agency, end));
                }
                Some(command) = self.commands.recv() => command,
            };
            self.end(&mut client, command).await?;
        }
        anyhow::bail!("too many starts")
    }

    async fn end(&mut self, client: &mut ClientProcess, how: EndClient) -> anyhow::Result<()> {
        if how.kill {
            self.tally.add("client killed");
            client.kill().await?;
        } else {
            self.tally.add("client stopped by SIGTERM");
            client.stop().await?;
        }
        // Its log is whole when its process has been waited for.
        let _ = client.wait(CLIENT_TIMEOUT).await;
        self.check_acknowledged(client);
        tokio::select! {
            () = sleep(how.down) => {}
            () = self.calm.cancelled() => {}
        }
        let launch = std::mem::replace(&mut self.launch, Launch::new(&PathBuf::new(), &[]));
        self.launch = launch.with("CLI_BATCH_SIZE", how.batch);
        Ok(())
    }

    /// What its log says was stored is in the file, now.
    fn check_acknowledged(&self, client: &ClientProcess) {
        let text = std::fs::read_to_string(client.process().log_path()).unwrap_or_default();
        let resumed = text.lines().map(LogLine).find(|line| line.is("resume", "success"));
        let before = resumed.and_then(|line| line.field("stored")?.parse::<u64>().ok());
        let acknowledged = before.unwrap_or(0) + client.bets_sent();
        let bets = std::fs::read(self.volume.bets()).unwrap_or_default();
        let start = format!("{},", self.agency);
        let is_row = |line: &&[u8]| line.starts_with(start.as_bytes()) && line.ends_with(b"\n");
        let stored = bets.split_inclusive(|byte| *byte == b'\n').filter(is_row).count() as u64;
        if stored < acknowledged {
            let name = client.process().name();
            self.findings.add(format!(
                "{name}: {acknowledged} rows were acknowledged, and {stored} are in bets.csv"
            ));
        }
    }
}
