//! One container: what is done to it, and what can be known of it.
//!
//! **Invariant**: after each start, what it printed before is not taken for what it prints now.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;

use super::docker::Docker;
use harness::log::LogLine;

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
    /// The agency numbers that it has claimed, each once for each life in a row.
    #[must_use]
    pub fn agencies(&self) -> Vec<u32> {
        let claims = self.log.iter().map(|line| LogLine(line));
        let claims = claims.filter(|line| line.is("claim", "success"));
        let mut agencies: Vec<u32> =
            claims.filter_map(|line| line.field("agency")?.parse().ok()).collect();
        agencies.dedup();
        agencies
    }
}

/// A container of the project.
#[derive(Debug)]
pub struct Container {
    docker: Docker,
    name: String,
    is_server: bool,
    /// How many lines it had printed when it was started last.
    printed_before: AtomicUsize,
}

impl Container {
    /// The container `name`.
    #[must_use]
    pub fn new(docker: &Docker, name: &str, is_server: bool) -> Self {
        let (docker, name) = (docker.clone(), name.to_owned());
        Self { docker, name, is_server, printed_before: AtomicUsize::new(0) }
    }

    /// Its name without the project's: `server-2`.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let name = self.name.strip_prefix(self.docker.project()).unwrap_or(&self.name);
        name.trim_start_matches('-')
    }

    /// Whether it is a server and not a client.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.is_server
    }

    async fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        Ok(self.docker.run(&[command, &[&self.name]].concat()).await?.output)
    }

    /// How it is now.
    ///
    /// # Errors
    /// Docker does not say.
    pub async fn state(&self) -> anyhow::Result<State> {
        State::parse(&self.run(&["inspect", "--format", STATE_FORM]).await?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.run(&["kill"]).await.map(drop)
    }

    /// SIGTERM; SIGKILL when its grace period is over.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.run(&["stop"]).await.map(drop)
    }

    /// How often its program said, in all its lives, that it was asked to end.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn times_asked(&self) -> anyhow::Result<usize> {
        let said = self.docker.run(&["logs", &self.name]).await?;
        let is_asked = |line: &&str| LogLine(line).is("shutdown", "in_progress");
        Ok(said.errors.lines().filter(is_asked).count())
    }

    /// Starts it, where it has ended.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn start(&self) -> anyhow::Result<()> {
        if !self.is_server {
            let printed = self.docker.run(&["logs", &self.name]).await?.output.lines().count();
            self.printed_before.store(printed, Ordering::Relaxed);
        }
        self.run(&["start"]).await.map(drop)
    }

    /// Freezes all of it.
    ///
    /// # Errors
    /// It does not run.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.run(&["pause"]).await.map(drop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not paused.
    pub async fn unpause(&self) -> anyhow::Result<()> {
        self.run(&["unpause"]).await.map(drop)
    }

    /// Takes it from the network.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn disconnect(&self) -> anyhow::Result<()> {
        let network = self.network();
        self.run(&["network", "disconnect", &network]).await.map(drop)
    }

    /// Gives it back to the network.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn connect(&self) -> anyhow::Result<()> {
        let network = self.network();
        let alias: &[&str] = if self.is_server { &["--alias", SERVER_NAME] } else { &[] };
        self.run(&[&["network", "connect"], alias, &[&network]].concat()).await.map(drop)
    }

    fn network(&self) -> String {
        format!("{}_lottery", self.docker.project())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn wait(&self) -> anyhow::Result<()> {
        self.docker.run_for_long(&["wait", &self.name]).await.map(drop)
    }

    /// Removes it, when it has ended.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn remove(&self) -> anyhow::Result<()> {
        self.run(&["rm"]).await.map(drop)
    }

    /// The last `lines` lines of its log.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn log_tail(&self, lines: usize) -> anyhow::Result<String> {
        let lines = lines.to_string();
        Ok(self.docker.run(&["logs", "--tail", &lines, &self.name]).await?.errors)
    }

    /// Everything that it wrote; it is put into `directory` as `name`, too.
    ///
    /// # Errors
    /// Docker failed, or a file cannot be written.
    pub async fn written(&self, directory: &Path, name: &str) -> anyhow::Result<Written> {
        let said = self.docker.run(&["logs", &self.name]).await?;
        for (end, text) in [("log", &said.errors), ("out", &said.output)] {
            let path = directory.join(format!("{name}.{end}"));
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let printed = said.output.lines().skip(self.printed_before.load(Ordering::Relaxed));
        Ok(Written {
            log: said.errors.lines().map(str::to_owned).collect(),
            printed: printed.map(str::to_owned).collect(),
        })
    }
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
        assert_eq!(written(&[3, 3]).agencies(), [3]);
        assert_eq!(written(&[3, 1]).agencies(), [3, 1]);
    }
}
