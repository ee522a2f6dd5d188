//! One container: what is done to it, and what can be known of it.
//!
//! **Invariant**: after each start, what it printed before is not taken for what it prints now.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::docker::Docker;
use crate::environment::{Announcement, Member};
use crate::report::Report;
use harness::log::LogLine;
use harness::volume::Volume;

/// The port of all servers.
pub const SERVER_PORT: u16 = 12345;

/// How long a server may take to end after SIGTERM, with what Docker takes for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(7);

/// How long servers may take to be healthy again: the check comes every 3 s, and may wait for 10.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is looked at.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// How it is seen that a paused server holds a lock.
const LOOKS: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// The name under which agencies look for the servers; a server that comes back to the network
/// has to be given it again.
pub const SERVER_NAME: &str = "server";

/// What `docker inspect` is asked for; see [`State::parse`].
const STATE_FORM: &str = "{{.State.Status}};{{.State.ExitCode}};\
    {{if .State.Health}}{{.State.Health.Status}}{{end}};\
    {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether its program runs, or is paused.
    pub is_running: bool,
    /// With what its program ended; 0 while it runs.
    pub exit_code: i32,
    /// What the health check says.
    pub is_healthy: bool,
    /// Where it is reached; none while it is cut off or ended.
    pub address: Option<Ipv4Addr>,
}

impl State {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = text.trim_end().split(';').collect();
        let &[status, exit_code, health, address] = fields.as_slice() else {
            anyhow::bail!("not four fields: {text:?}");
        };
        Ok(Self {
            is_running: matches!(status, "running" | "paused"),
            exit_code: exit_code.parse().context("read an exit code")?,
            is_healthy: health == "healthy",
            address: address.parse().ok(),
        })
    }
}

/// What a container's program wrote in all its lives.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The lines of its log.
    pub log: Vec<String>,
    /// The lines that it printed since its last start.
    pub printed: Vec<String>,
}

impl Written {
    /// The one agency that it was in all its lives, by the numbers that it has claimed.
    fn agency(&self) -> Result<u32, String> {
        let claims = self.log.iter().map(|line| LogLine(line));
        let claims = claims.filter(|line| line.is("claim", "success"));
        let mut agencies: Vec<u32> =
            claims.filter_map(|line| line.field("agency")?.parse().ok()).collect();
        agencies.dedup();
        match agencies.as_slice() {
            &[agency] => Ok(agency),
            _ => Err(format!("was the agencies {agencies:?}, one after another")),
        }
    }
}

/// A container of the project.
#[derive(Debug, Clone)]
pub struct Container {
    /// Docker, and its project.
    pub docker: Docker,
    /// Its name, with the project's.
    pub name: String,
    /// Whether it is a server and not a client.
    pub is_server: bool,
    /// Whether clients give up soon.
    pub is_impatient: bool,
    /// How many lines it had printed when it was started last.
    pub printed_before: usize,
    /// What the servers share.
    pub volume: Volume,
    /// What is reported.
    pub report: Report,
}

/// What is done to a container and known of it. Each function fails if Docker does.
impl Container {
    /// `docker COMMAND` with this container.
    pub async fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        Ok(self.docker.run(&[command, &[&self.name]].concat()).await?.output)
    }

    /// How it is now.
    pub async fn state(&self) -> anyhow::Result<State> {
        State::parse(&self.run(&["inspect", "--format", STATE_FORM]).await?)
    }

    /// Whether `command` was done: a client may end at any moment, and then it was not.
    async fn try_run(&self, command: &str) -> anyhow::Result<bool> {
        match self.run(&[command]).await {
            Ok(_) => Ok(true),
            Err(_) if !self.is_server && !self.state().await?.is_running => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How often its program said, in all its lives, that it was asked to end.
    async fn times_asked(&self) -> anyhow::Result<usize> {
        let said = self.docker.run(&["logs", &self.name]).await?;
        let is_asked = |line: &&str| LogLine(line).is("shutdown", "in_progress");
        Ok(said.errors.lines().filter(is_asked).count())
    }

    /// Takes it from the network.
    pub async fn disconnect(&self) -> anyhow::Result<()> {
        self.run(&["network", "disconnect", &self.network()]).await.map(drop)
    }

    /// Gives it back to the network.
    pub async fn connect(&self) -> anyhow::Result<()> {
        let network = self.network();
        let alias: &[&str] = if self.is_server { &["--alias", SERVER_NAME] } else { &[] };
        self.run(&[&["network", "connect"], alias, &[&network]].concat()).await.map(drop)
    }

    fn network(&self) -> String {
        format!("{}_lottery", self.docker.project)
    }

    /// The last `lines` lines of its log.
    pub async fn log_tail(&self, lines: usize) -> anyhow::Result<String> {
        let lines = lines.to_string();
        Ok(self.docker.run(&["logs", "--tail", &lines, &self.name]).await?.errors)
    }

    /// The last alarm of its log, or the end of it.
    async fn reason(&self) -> anyhow::Result<String> {
        let tail = self.log_tail(5).await?;
        Ok(tail.lines().rfind(|line| LogLine(line).is_alarm()).unwrap_or(&tail).to_owned())
    }

    /// Whether a client has closed, and waits for its winners.
    pub async fn is_waiting(&self) -> anyhow::Result<bool> {
        let tail = self.log_tail(3).await?;
        Ok(["agencia_cerrada", "consulta_ganadores"].iter().any(|action| tail.contains(action)))
    }

    /// What it wrote; it is put into `directory` as `name`, too.
    pub async fn written(&self, directory: &Path, name: &str) -> anyhow::Result<Written> {
        let written = self.output().await?;
        for (end, lines) in [("log", &written.log), ("out", &written.printed)] {
            let path = directory.join(format!("{name}.{end}"));
            fs::write(&path, lines.join("\n"))
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(written)
    }

    async fn output(&self) -> anyhow::Result<Written> {
        let said = self.docker.run(&["logs", &self.name]).await?;
        let printed = said.output.lines().skip(self.printed_before);
        Ok(Written {
            log: said.errors.lines().map(str::to_owned).collect(),
            printed: printed.map(str::to_owned).collect(),
        })
    }
}

impl Member for Container {
    const CATCHES_MAX: u32 = 12;

    /// Without the project's: `server-2`.
    fn name(&self) -> String {
        let name = self.name.strip_prefix(&self.docker.project).unwrap_or(&self.name);
        name.trim_start_matches('-').to_owned()
    }

    fn is_server(&self) -> bool {
        self.is_server
    }

    async fn kill(&mut self) -> anyhow::Result<bool> {
        self.try_run("kill").await
    }

    /// A client may end by itself before the signal comes, with any code: that is no answer to the
    /// signal, and is judged as the ends are of clients to which nothing is done.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let asked_before = if self.is_server { 0 } else { self.times_asked().await? };
        let begun = Instant::now();
        self.run(&["stop"]).await?;
        let (took, code) = (begun.elapsed(), self.state().await?.exit_code);
        let is_asked = self.is_server || self.times_asked().await? > asked_before;
        let gave_up = !is_asked && self.gave_up(code).await?;
        if let Err(wrong) = check_stop(code, took, gave_up) {
            self.report.violation(format!("{}: {wrong}", self.name()));
        }
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        if !self.is_server {
            self.printed_before += self.output().await?.printed.len();
        }
        self.run(&["start"]).await.map(drop)
    }

    async fn start_and_kill(&mut self, after: Duration) -> anyhow::Result<()> {
        self.start().await?;
        sleep(after).await;
        self.kill().await.map(drop)
    }

    async fn pause(&mut self) -> anyhow::Result<bool> {
        self.try_run("pause").await
    }

    async fn resume(&mut self) -> anyhow::Result<()> {
        self.run(&["unpause"]).await.map(drop)
    }

    /// A lock that is not given back: other servers hold one for a moment only.
    async fn holds_lock(&self) -> bool {
        for _ in 0..LOOKS {
            if !self.is_server || !is_locked(&self.volume) {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }

    fn until_end(&self) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let (docker, name) = (self.docker.clone(), self.name.clone());
        async move { docker.run_for_long(&["wait", &name]).await.map(drop) }
    }

    async fn exit_code(&mut self) -> anyhow::Result<Option<i32>> {
        let state = self.state().await?;
        Ok((!state.is_running).then_some(state.exit_code))
    }

    async fn address(&self) -> anyhow::Result<SocketAddr> {
        let begun = Instant::now();
        loop {
            let state = self.state().await?;
            if let (true, Some(address)) = (state.is_healthy, state.address) {
                return Ok((address, SERVER_PORT).into());
            }
            if begun.elapsed() > HEALTHY_TIMEOUT {
                bail!("it is not healthy after {} s", HEALTHY_TIMEOUT.as_secs());
            }
            sleep(POLL_EVERY).await;
        }
    }

    async fn gave_up(&self, code: i32) -> anyhow::Result<bool> {
        Ok(code == 1 && self.is_impatient && self.reason().await?.contains("no progress in"))
    }

    async fn announcement(&self) -> anyhow::Result<Option<Announcement>> {
        let written = self.output().await?;
        match written.agency() {
            Ok(agency) => {
                let places = vec![("standard output", written.printed)];
                Ok(Some(Announcement { agency, places }))
            }
            Err(wrong) => {
                self.report.violation(format!("{} {wrong}", self.name()));
                Ok(None)
            }
        }
    }

    async fn failure(&self, what: &str) -> String {
        let reason = self.reason().await.unwrap_or_else(|error| format!("{error:#}"));
        format!("{} {what}: {reason}", self.name())
    }
}

fn is_locked(volume: &Volume) -> bool {
    let locks = volume.path().join("locks");
    ["bets.csv.lock", "agencies_closed.lock"].iter().any(|name| {
        File::open(locks.join(name))
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    })
}

/// Whether a stop came to what it should; one that `gave_up` had ended before.
fn check_stop(code: i32, took: Duration, gave_up: bool) -> Result<(), String> {
    if took <= STOP_TIMEOUT && (code == 0 || gave_up) {
        return Ok(());
    }
    let seconds = took.as_secs_f32();
    Err(format!("SIGTERM ended it after {seconds:.1} s with exit code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_from_what_docker_prints() {
        let running = State {
            is_running: true,
            exit_code: 0,
            is_healthy: true,
            address: Some(Ipv4Addr::new(172, 18, 0, 3)),
        };
        assert_eq!(State::parse("running;0;healthy;172.18.0.3\n").unwrap(), running);
        let ended = State { is_running: false, exit_code: 137, is_healthy: false, address: None };
        assert_eq!(State::parse("exited;137;;\n").unwrap(), ended);
        assert!(State::parse("exited").is_err());
    }

    #[test]
    fn a_client_that_claims_its_number_again_has_one() {
        let claim = |agency: u32| {
            format!(
                "2026-01-31 10:00:00 INFO     action: claim | result: success | agency: {agency}"
            )
        };
        let written = |agencies: &[u32]| Written {
            log: agencies.iter().map(|agency| claim(*agency)).collect(),
            printed: Vec::new(),
        };
        assert_eq!(written(&[3, 3]).agency(), Ok(3));
        for (claims, wrong) in [(&[3, 1][..], "was the agencies [3, 1]"), (&[], "agencies []")] {
            assert!(written(claims).agency().unwrap_err().contains(wrong), "{claims:?}");
        }
    }

    #[test]
    fn a_stop_is_in_order_and_in_time_unless_the_client_had_given_up_before() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(8));
        for (code, took, gave_up, is_right) in [
            (0, soon, false, true),
            (1, soon, true, true),
            (1, soon, false, false),
            (137, late, false, false),
            (0, late, false, false),
        ] {
            assert_eq!(check_stop(code, took, gave_up).is_ok(), is_right, "{code} {took:?}");
        }
    }
}
