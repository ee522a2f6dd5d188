//! One client of an agency, as the faults have it: paused, or ended and started again with another
//! batch size, until it ends by itself with its winners.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::server_seat::until;
use super::tally::{Findings, Tally};
use crate::client_process::{ClientEnd, ClientProcess};
use crate::log::LogLine;
use crate::process::Launch;
use crate::volume::Volume;

/// Longer than any run: the run has a deadline of its own.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What to do to a client.
#[derive(Debug, Clone, Copy)]
pub enum ClientCommand {
    /// SIGKILL, or SIGTERM, and a start with another batch size after `down`.
    End { kill: bool, down: Duration, batch: u64 },
    /// SIGSTOP, and SIGCONT after `Duration`.
    Pause(Duration),
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
    pub commands: UnboundedReceiver<ClientCommand>,
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
    /// It could not be started, paused or killed.
    pub async fn run(mut self) -> anyhow::Result<(u32, ClientEnd)> {
        for start in 1.. {
            let name = format!("{}-{start}", self.name);
            let launch = self.launch.clone();
            let mut client = ClientProcess::spawn(&name, self.agency, launch, &self.directory)?;
            if let Some(end) = self.follow(&mut client).await? {
                return Ok((self.agency, end));
            }
        }
        anyhow::bail!("too many starts")
    }

    /// Follows one start of it; gives how it ended by itself, nothing if it was ended.
    async fn follow(&mut self, client: &mut ClientProcess) -> anyhow::Result<Option<ClientEnd>> {
        let mut resume_at: Option<Instant> = None;
        loop {
            let command = tokio::select! {
                end = client.wait(CLIENT_TIMEOUT) => return self.ended(client, end?).map(Some),
                Some(command) = self.commands.recv() => Some(command),
                () = until(resume_at, &self.calm) => None,
            };
            resume_at = None;
            client.process().signal(Signal::CONT)?;
            match command {
                Some(ClientCommand::End { kill, down, batch }) => {
                    self.end(client, kill).await?;
                    self.stay_away(down, batch).await;
                    return Ok(None);
                }
                Some(ClientCommand::Pause(pause)) => {
                    self.tally.add("client paused");
                    client.process().signal(Signal::STOP)?;
                    resume_at = Some(Instant::now() + pause);
                }
                None => {}
            }
        }
    }

    fn ended(&self, client: &ClientProcess, end: ClientEnd) -> anyhow::Result<ClientEnd> {
        self.check_acknowledged(client);
        if end.code() != Some(0) {
            let error = client.process().failure(format!("ended with {}", end.status));
            self.findings.add(format!("{error:#}"));
        }
        Ok(end)
    }

    async fn end(&self, client: &mut ClientProcess, kill: bool) -> anyhow::Result<()> {
        if kill {
            self.tally.add("client killed");
            client.kill().await?;
        } else {
            self.tally.add("client stopped by SIGTERM");
            client.stop().await?;
        }
        // Its log is whole when its process has been waited for.
        let _ = client.wait(CLIENT_TIMEOUT).await;
        self.check_acknowledged(client);
        Ok(())
    }

    async fn stay_away(&mut self, down: Duration, batch: u64) {
        tokio::select! {
            () = sleep(down) => {}
            () = self.calm.cancelled() => {}
        }
        let launch = std::mem::replace(&mut self.launch, Launch::new(&PathBuf::new(), &[]));
        self.launch = launch.with("CLI_BATCH_SIZE", batch);
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
