//! A server or client process, to which faults are done.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use super::client_log;
use crate::environment::{Announcement, Member};
use crate::plan::batch;
use crate::registry::ServerRegistry;
use crate::report::Report;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::process::{ChildProcess, KILL_TIMEOUT, Launch};
use harness::processes;
use harness::rng::Rng;
use harness::server_process::ServerProcess;
use harness::volume::Volume;

/// How often a start of a server is tried.
const STARTS_MAX: u32 = 3;

/// How long a server that is to die of its next write may take to write.
const TEAR_TIMEOUT: Duration = Duration::from_secs(1);

/// As much as a server may ever need, in MiB: that of one at which ten thousand agencies wait.
const MEMORY_MIB_MAX: f64 = 64.0;

/// A process.
#[derive(Debug)]
pub struct Process {
    /// What is reported.
    pub report: Report,
    /// Which program it is.
    pub role: Role,
}

/// What differs between servers and clients.
#[derive(Debug)]
pub enum Role {
    /// A server.
    Server(Server),
    /// A client.
    Client(Client),
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    /// Its place among the servers, from 0.
    pub place: usize,
    /// The process.
    pub process: ServerProcess,
    /// Has its address, and since when it is available.
    pub registry: ServerRegistry,
}

/// A client process.
#[derive(Debug)]
pub struct Client {
    /// What it is called, to which the number of its start is added.
    pub name: String,
    /// How it is started the first time; later it gets other batch sizes.
    pub launch: Launch,
    /// Where.
    pub directory: PathBuf,
    /// What the servers share.
    pub volume: Volume,
    /// What chooses its batch size.
    pub rng: Rng,
    process: ClientProcess,
    starts: u32,
    /// How it ended, when that was seen.
    end: Option<ClientEnd>,
}

impl Client {
    /// Starts the client of `agency` as `name` in `directory`.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(
        agency: u32,
        name: String,
        launch: Launch,
        (directory, volume): (PathBuf, Volume),
        rng: Rng,
    ) -> anyhow::Result<Self> {
        let process =
            ClientProcess::spawn(&format!("{name}-1"), agency, launch.clone(), &directory)?;
        Ok(Self { name, launch, directory, volume, rng, process, starts: 1, end: None })
    }

    /// Waits for its end, and checks its log.
    async fn ended(&mut self, report: &Report) -> anyhow::Result<ClientEnd> {
        if let Some(end) = &self.end {
            return Ok(end.clone());
        }
        let end = self.process.wait(KILL_TIMEOUT).await?;
        client_log::check(&self.process, &self.volume, report);
        self.end = Some(end.clone());
        Ok(end)
    }
}

impl Server {
    fn set_available(&self) {
        self.registry.set_available(self.place, self.process.address());
    }

    /// Checks how much memory it used at the most since its start, before it is ended.
    fn check_memory(&self, report: &Report) -> anyhow::Result<()> {
        let child = self.process.process();
        let used = processes::memory_high_mib(child.id().context("find a server's process")?)?;
        if used > MEMORY_MIB_MAX {
            report.violation(format!("{} used {used:.1} MiB of memory", child.name()));
        }
        Ok(())
    }

    /// Has it die in the middle of the write that makes a file longer than `limit` bytes; returns
    /// whether it did.
    ///
    /// # Errors
    /// The system refused it.
    pub async fn tear(&mut self, limit: u64, report: &Report) -> anyhow::Result<bool> {
        let log = self.process.log().clone();
        self.registry.set_unavailable(self.place);
        self.process.limit_files(Some(limit))?;
        let end = log.wait_from(log.count(), |_| false);
        if timeout(TEAR_TIMEOUT, end).await.is_err() {
            self.process.limit_files(None)?;
            self.set_available();
            // It may have died at the last moment: the next that locks it sees that it has ended.
            return Ok(false);
        }
        let status = self.process.ended().await?;
        if status.signal() != Some(Signal::XFSZ.as_raw()) {
            let what = format!("ended by itself, with {status}");
            report.violation(format!("{:#}", self.process.process().failure(what)));
        }
        Ok(true)
    }
}

impl Process {
    fn child(&self) -> &ChildProcess {
        match &self.role {
            Role::Server(server) => server.process.process(),
            Role::Client(client) => client.process.process(),
        }
    }
}

impl Member for Process {
    const CATCHES_MAX: u32 = 200;

    fn name(&self) -> String {
        self.child().name().to_owned()
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    async fn kill(&mut self) -> anyhow::Result<bool> {
        match &mut self.role {
            Role::Server(server) => {
                server.check_memory(&self.report)?;
                server.registry.set_unavailable(server.place);
                server.process.kill().await?;
            }
            Role::Client(client) => {
                client.process.kill().await?;
                client.ended(&self.report).await?;
            }
        }
        Ok(true)
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        match &mut self.role {
            Role::Server(server) => {
                server.check_memory(&self.report)?;
                server.registry.set_unavailable(server.place);
                if let Err(error) = server.process.stop().await {
                    self.report.violation(format!("SIGTERM: {error:#}"));
                    server.process.kill().await?;
                }
            }
            Role::Client(client) => {
                let status = client.process.stop().await?;
                client.ended(&self.report).await?;
                let child = client.process.process();
                if let Err(wrong) = client_log::check_stop(status, &client_log::text_of(child)) {
                    self.report.violation(format!("{:#}", child.failure(wrong)));
                }
            }
        }
        Ok(())
    }

    /// A client gets another batch size.
    async fn start(&mut self) -> anyhow::Result<()> {
        match &mut self.role {
            Role::Server(server) => {
                let mut last = anyhow!("not started");
                for _ in 0..STARTS_MAX {
                    match server.process.restart().await {
                        Ok(()) => {
                            server.set_available();
                            return Ok(());
                        }
                        Err(error) => last = error,
                    }
                    self.report.violation(format!("a server did not start again: {last:#}"));
                }
                Err(last)
            }
            Role::Client(client) => {
                client.starts += 1;
                let name = format!("{}-{}", client.name, client.starts);
                let launch = client.launch.clone().with("CLI_BATCH_SIZE", batch(&mut client.rng));
                let agency = client.process.agency();
                client.process = ClientProcess::spawn(&name, agency, launch, &client.directory)?;
                client.end = None;
                Ok(())
            }
        }
    }

    async fn start_and_kill(&mut self, after: Duration) -> anyhow::Result<()> {
        if let Role::Server(server) = &mut self.role {
            return server.process.restart_and_kill(after).await;
        }
        self.start().await?;
        sleep(after).await;
        self.kill().await.map(drop)
    }

    async fn pause(&mut self) -> anyhow::Result<bool> {
        if let Role::Server(server) = &self.role {
            server.registry.set_unavailable(server.place);
        }
        self.child().signal(Signal::STOP).context("pause a process")?;
        Ok(true)
    }

    async fn resume(&mut self) -> anyhow::Result<()> {
        self.child().signal(Signal::CONT).context("resume a process")?;
        if let Role::Server(server) = &self.role {
            server.set_available();
        }
        Ok(())
    }

    async fn holds_lock(&self) -> bool {
        matches!(&self.role, Role::Server(server) if server.process.holds_lock())
    }

    fn until_end(&self) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let log = self.child().log().clone();
        async move {
            log.wait_from(log.count(), |_| false).await;
            Ok(())
        }
    }

    async fn exit_code(&mut self) -> anyhow::Result<Option<i32>> {
        if timeout(Duration::ZERO, self.until_end()).await.is_err() {
            return Ok(None);
        }
        let status = match &mut self.role {
            Role::Server(server) => server.process.ended().await?,
            Role::Client(client) => client.ended(&self.report).await?.status,
        };
        // As a shell has it.
        Ok(Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))))
    }

    async fn address(&self) -> anyhow::Result<SocketAddr> {
        match &self.role {
            Role::Server(server) => Ok(server.process.address()),
            Role::Client(_) => Err(anyhow!("a client has no address")),
        }
    }

    async fn gave_up(&self, _code: i32) -> anyhow::Result<bool> {
        Ok(false)
    }

    async fn announcement(&self) -> anyhow::Result<Option<Announcement>> {
        let Role::Client(Client { process, end: Some(end), .. }) = &self.role else {
            return Ok(None);
        };
        let filed = end.filed.clone().unwrap_or_default();
        let places = vec![("standard output", end.printed.clone()), ("file", filed)];
        Ok(Some(Announcement { agency: process.agency(), places }))
    }

    async fn failure(&self, what: &str) -> String {
        format!("{:#}", self.child().failure(what))
    }
}
