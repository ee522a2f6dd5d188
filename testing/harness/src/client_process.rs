//! One agency's client as a process, and what it announced.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use crate::log::ProcessLog;
use crate::process::{ChildProcess, Launch};

/// How long a client may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A client process.
#[derive(Debug)]
pub struct ClientProcess {
    agency: u32,
    winners_path: PathBuf,
    process: ChildProcess,
}

/// How a client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEnd {
    /// Its exit status.
    pub status: ExitStatus,
    /// The documents that it printed, one a line.
    pub printed: Vec<String>,
    /// The documents in its winners file; `None` if it wrote none.
    pub filed: Option<Vec<String>>,
}

impl ClientEnd {
    /// The exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl ClientProcess {
    /// Starts the client `launch` of `agency` as `name` in `directory`. Its winners file is there.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn(
        name: &str,
        agency: u32,
        launch: Launch,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let winners_path = directory.join(format!("{name}.winners"));
        if winners_path.exists() {
            std::fs::remove_file(&winners_path).context("remove an earlier winners file")?;
        }
        let launch = launch.with("CLI_WINNERS_FILE", winners_path.display());
        let process = ChildProcess::spawn(name, &launch, directory)?;
        Ok(Self { agency, winners_path, process })
    }

    /// The agency's number.
    #[must_use]
    pub fn agency(&self) -> u32 {
        self.agency
    }

    /// The process, running or ended.
    #[must_use]
    pub fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> &ProcessLog {
        self.process.log()
    }

    /// How many bets its log says were stored for it.
    #[must_use]
    pub fn bets_sent(&self) -> u64 {
        self.log().bets("apuesta_enviada", "apuestas_enviadas")
    }

    /// Waits up to `limit` for its end.
    ///
    /// # Errors
    /// It still runs, or what it announced cannot be read.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<ClientEnd> {
        let status = self.process.wait(limit).await?;
        let filed = match std::fs::read_to_string(&self.winners_path) {
            Ok(text) => Some(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("read winners file"),
        };
        Ok(ClientEnd { status, printed: self.process.output()?, filed })
    }

    /// SIGKILL, and its end.
    ///
    /// # Errors
    /// It does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// SIGTERM, and how it ended; SIGKILL if that takes too long, and none then.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.signal(Signal::TERM).context("stop a client")?;
        match self.process.wait(STOP_TIMEOUT).await {
            Ok(status) => Ok(Some(status)),
            Err(_) => self.kill().await.map(|()| None),
        }
    }
}
