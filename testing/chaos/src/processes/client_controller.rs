//! One client of an agency, as the faults have it: paused, or ended and started again with another
//! batch size, until it ends by itself with its winners.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::server_controller::until;
use crate::common::tally::{Findings, Tally};
use harness::client_process::{ClientEnd, ClientProcess};
use harness::log::LogLine;
use harness::process::Launch;
use harness::volume::Volume;

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

/// A client and what does things to it.
#[derive(Debug)]
pub struct ClientController {
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
    pub faults_over: CancellationToken,
    /// What was done.
    pub tally: Tally,
    /// What should not have happened.
    pub findings: Findings,
}

impl ClientController {
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
                () = until(resume_at, &self.faults_over) => None,
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
        self.check_log(client);
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
            let status = client.stop().await?;
            if let Err(wrong) = check_stop(status, &log_of(client)) {
                let error = client.process().failure(wrong);
                self.findings.add(format!("{error:#}"));
            }
        }
        // Its log is whole when its process has been waited for.
        let _ = client.wait(CLIENT_TIMEOUT).await;
        self.check_log(client);
        Ok(())
    }

    async fn stay_away(&mut self, down: Duration, batch: u64) {
        tokio::select! {
            () = sleep(down) => {}
            () = self.faults_over.cancelled() => {}
        }
        let launch = std::mem::replace(&mut self.launch, Launch::new(&PathBuf::new(), &[]));
        self.launch = launch.with("CLI_BATCH_SIZE", batch);
    }

    /// What its log says was stored is in the file, now; and it says nothing that is for a person
    /// to look at, since whatever goes wrong here passes.
    fn check_log(&self, client: &ClientProcess) {
        let (name, text) = (client.process().name(), log_of(client));
        for line in for_a_person(&text) {
            self.findings.add(format!("{name}: {line}"));
        }
        let bets = std::fs::read(self.volume.bets()).unwrap_or_default();
        let (agency, sent) = (self.agency, client.bets_sent());
        if let Err(wrong) = check_acknowledged(agency, &text, sent, &bets) {
            self.findings.add(format!("{name}: {wrong}"));
        }
    }
}

/// Whether `bets`, what the file has now, has all rows of `agency` that a client with this log
/// found stored, or sent and had acknowledged: so many are `sent`.
fn check_acknowledged(agency: u32, log: &str, sent: u64, bets: &[u8]) -> Result<(), String> {
    let resumed = log.lines().map(LogLine).find(|line| line.is("resume", "success"));
    let before = resumed.and_then(|line| line.field("stored")?.parse::<u64>().ok());
    let acknowledged = before.unwrap_or(0) + sent;
    let start = format!("{agency},");
    let is_row = |line: &&[u8]| line.starts_with(start.as_bytes()) && line.ends_with(b"\n");
    let stored = bets.split_inclusive(|byte| *byte == b'\n').filter(is_row).count() as u64;
    if stored < acknowledged {
        return Err(format!("{acknowledged} rows were acknowledged, and {stored} are in bets.csv"));
    }
    Ok(())
}

fn log_of(client: &ClientProcess) -> String {
    std::fs::read_to_string(client.process().log_path()).unwrap_or_default()
}

/// How a client may end that was sent SIGTERM, by its log since it started: in order, or by the
/// signal itself as long as it has logged nothing but its settings, which it does before it
/// listens for signals. None is one that did not end in time.
fn check_stop(status: Option<ExitStatus>, log: &str) -> Result<(), String> {
    let status = status.ok_or("SIGTERM did not end it in time")?;
    let is_deaf = log.lines().all(|line| LogLine(line).field("action") == Some("config"));
    let is_early = is_deaf && status.signal() == Some(Signal::TERM.as_raw());
    if status.success() || is_early { Ok(()) } else { Err(format!("SIGTERM ended it: {status}")) }
}

/// The lines at which a person should look; warnings tell what passes.
fn for_a_person(log: &str) -> impl Iterator<Item = &str> {
    let is_wrong = |line: &&str| LogLine(line).is_alarm() && LogLine(line).level() != "WARNING";
    log.lines().filter(is_wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "2026-01-31 10:00:00 INFO     action: config | result: success";
    const READ: &str = "2026-01-31 10:00:00 INFO     action: bets_read | result: success";
    const RESUMED: &str = "2026-01-31 10:00:00 INFO     action: resume | result: success";

    #[test]
    fn sigterm_ends_a_client_in_order_or_before_it_listens_for_signals() {
        // As the system has them: the exit code in the second byte, the signal in the first.
        let [right, failed, by_term, by_segv] = [0, 1 << 8, 15, 11].map(ExitStatus::from_raw);
        for (status, log, is_right) in [
            (Some(right), RESUMED, true),
            (Some(by_term), "", true),
            (Some(by_term), CONFIG, true),
            (Some(by_term), READ, false),
            (Some(by_term), RESUMED, false),
            (Some(failed), "", false),
            (Some(failed), RESUMED, false),
            (Some(by_segv), "", false),
            (None, "", false),
        ] {
            assert_eq!(check_stop(status, log).is_ok(), is_right, "{status:?} {log}");
        }
    }

    #[test]
    fn errors_of_clients_are_for_a_person_and_warnings_are_not() {
        let panic = "thread 'main' panicked at src/main.rs:1:1:";
        let of = |level: &str| format!("2026-01-31 10:00:00 {level:<8} action: x | result: fail");
        let (error, critical) = (of("ERROR"), of("CRITICAL"));
        let log = [RESUMED, &of("WARNING"), &error, &critical, panic].join("\n");
        let found: Vec<&str> = for_a_person(&log).collect();
        assert_eq!(found, [error.as_str(), critical.as_str(), panic]);
    }

    #[test]
    fn acknowledged_rows_that_are_not_in_the_file_are_found() {
        let resumed = format!("{RESUMED} | stored: 2 | to_send: 9");
        for (log, sent, bets, is_right) in [
            ("", 0, "", true),
            ("", 1, "", false),
            ("", 2, "1,a\n2,b\n1,c\n", true),
            ("", 2, "1,a\n2,b\n2,c\n", false),
            ("", 2, "1,a\n1,b", false),
            (&resumed, 0, "1,a\n1,b\n", true),
            (&resumed, 1, "1,a\n1,b\n", false),
            (&resumed, 0, "1,a\n11,b\n", false),
        ] {
            let checked = check_acknowledged(1, log, sent, bets.as_bytes());
            assert_eq!(checked.is_ok(), is_right, "{log} {sent} {bets}: {checked:?}");
        }
    }
}
