//! One instance as a process: started, stopped, killed, paused, started again where it was.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::log::{LogLine, ProcessLog};
use crate::process::{ChildProcess, KILL_TIMEOUT, Launch};

/// How long an instance may take until it listens. Bets of other runs may have to be read first.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an instance may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A server process that listens, or did until it was ended.
#[derive(Debug)]
pub struct ServerProcess {
    process: ChildProcess,
    address: SocketAddr,
    /// The log since the first start.
    log: ProcessLog,
}

impl ServerProcess {
    /// Starts the instance `launch` as `name` in `directory`, so that the size of its files can be
    /// limited. [`ServerProcess::listening`] comes next.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(name: &str, launch: Launch, directory: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(ChildProcess::spawn_piped(name, &launch, directory)?))
    }

    /// The instance that `process` is.
    #[must_use]
    pub fn new(process: ChildProcess) -> Self {
        let (address, log) = (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), process.log().clone());
        Self { process, address, log }
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub async fn listening(mut self) -> anyhow::Result<Self> {
        self.find_address().await?;
        // From now on it is always this port: clients know it.
        self.set("SERVER_PORT", self.address.port());
        Ok(self)
    }

    async fn find_address(&mut self) -> anyhow::Result<()> {
        let listens = |line: LogLine<'_>| line.is("listen", "success");
        let line = self.wait_for("that it listens", LISTEN_TIMEOUT, listens).await?;
        let address = LogLine(&line).field("address").and_then(|address| address.parse().ok());
        self.address = address.with_context(|| format!("find an address in {line:?}"))?;
        Ok(())
    }

    /// Where it listens; after a restart, too, unless its settings were changed.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, running or ended.
    #[must_use]
    pub fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// The log since its last start.
    #[must_use]
    pub fn log(&self) -> &ProcessLog {
        self.process.log()
    }

    /// The lines, since its first start, at which a person should look.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.log.alarms()
    }

    /// Changes a setting for the next [`ServerProcess::restart`].
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.process.set(key, value);
    }

    /// How many bets its log says it has stored, since its first start.
    #[must_use]
    pub fn bets_stored(&self) -> u64 {
        self.log.bets("apuesta_almacenada", "apuestas_almacenadas")
    }

    /// SIGKILL, and its end.
    ///
    /// # Errors
    /// It does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Waits for its end, which comes by itself.
    ///
    /// # Errors
    /// It does not come.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait(KILL_TIMEOUT).await
    }

    /// From now on the system ends it, by SIGXFSZ, in the middle of a write that makes a file
    /// longer than so many bytes; `None` lifts that. Nothing if it has ended.
    ///
    /// # Errors
    /// The system refused it.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) else {
            return Ok(());
        };
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes.or(maximum), maximum };
        match prlimit(Some(pid), Resource::Fsize, limit) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).context("limit the files of a server")
            }
            _ => Ok(()),
        }
    }

    /// SIGTERM, and its end.
    ///
    /// # Errors
    /// It takes longer than 5 s, or its exit code is not 0.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(Signal::TERM, STOP_TIMEOUT).await
    }

    /// Waits for its end after a SIGTERM.
    ///
    /// # Errors
    /// As [`ServerProcess::stop`].
    pub(crate) async fn stopped(&mut self) -> anyhow::Result<()> {
        self.process.succeeded(STOP_TIMEOUT).await
    }

    /// SIGSTOP: it keeps its connections and its locks, and does nothing.
    ///
    /// # Errors
    /// The system refused the signal.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP).context("pause a server")
    }

    /// Whether it holds a `flock`, by what the system says. One that was just paused may still give
    /// it back.
    #[must_use]
    pub fn holds_lock(&self) -> bool {
        let Some(id) = self.process.id().map(|id| id.to_string()) else { return false };
        // `7: FLOCK  ADVISORY  WRITE 4711 00:2f:1234 0 EOF`; where it only waits: `7: -> FLOCK …`.
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().any(|line| {
            let mut entry = line.split_ascii_whitespace().skip(1);
            entry.next() == Some("FLOCK") && entry.nth(2) == Some(&id)
        })
    }

    /// SIGCONT: goes on after [`ServerProcess::pause`].
    ///
    /// # Errors
    /// The system refused the signal.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT).context("resume a server")
    }

    /// Starts it again where it was, after [`ServerProcess::kill`] or [`ServerProcess::stop`].
    ///
    /// # Errors
    /// It does not start, ends, or does not listen in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = self.process.spawn_again()?;
        self.find_address().await?;
        Ok(())
    }

    /// Starts it again as [`ServerProcess::restart`] does, and kills it `after` that, wherever its
    /// start is then.
    ///
    /// # Errors
    /// It could not be started or killed.
    pub async fn restart_and_kill(&mut self, after: Duration) -> anyhow::Result<()> {
        let mut process = self.process.spawn_again()?;
        tokio::time::sleep(after).await;
        process.kill().await
    }

    /// Waits up to `limit` for a line of its log, from its last start on.
    ///
    /// # Errors
    /// It ends, or time runs out, without such a line; the error says `what` was waited for.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(LogLine<'_>) -> bool,
    ) -> anyhow::Result<String> {
        self.process.wait_for(what, limit, wanted).await
    }
}
