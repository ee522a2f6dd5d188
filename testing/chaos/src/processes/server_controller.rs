//! One server, as the faults have it: killed, stopped, paused and started again, where it was or
//! elsewhere.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::anyhow;
use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::registry::ServerRegistry;
use crate::common::tally::{Findings, Tally};
use harness::server_process::ServerProcess;

/// How often a start is tried.
const STARTS_MAX: u32 = 3;

/// How often it is tried to catch a server while it holds a lock, and how long it runs between.
const CATCHES_MAX: u32 = 200;
const CATCH_EVERY: Duration = Duration::from_millis(1);

/// How long a server that is to die of its next write may take to write.
const TEAR_TIMEOUT: Duration = Duration::from_secs(1);

/// What to do to a server.
#[derive(Debug)]
pub enum Command {
    /// SIGKILL, and a start after `down`, before which it is killed while it starts; while it holds
    /// a lock, if it can be caught at that.
    Kill { holding: bool, down: Duration, false_starts: Vec<Duration> },
    /// The system ends it when it writes a file beyond `limit` bytes, up to which it has written
    /// then; and a start after `down`.
    Tear { limit: u64, down: Duration },
    /// SIGKILL; tells when it is dead, and waits to be told to start.
    KillUntil { dead: oneshot::Sender<()>, start: oneshot::Receiver<()> },
    /// SIGTERM, and a start after `down`.
    Stop { down: Duration },
    /// SIGKILL, and a start at another address after `down`.
    Move { down: Duration, ip: Ipv4Addr },
    /// SIGSTOP, and SIGCONT after `pause`; while it holds a lock, if it can be caught at that.
    Pause { pause: Duration, holding: bool },
}

/// A server and what does things to it.
#[derive(Debug)]
pub struct ServerController {
    /// Its place among the servers, from 0.
    pub place: usize,
    /// The server.
    pub server: ServerProcess,
    /// Who is told where it is, and when it sleeps and wakes.
    pub registry: ServerRegistry,
    /// What to do; at its end the server is left running.
    pub commands: UnboundedReceiver<Command>,
    /// From when on it is to run.
    pub faults_over: CancellationToken,
    /// What was done.
    pub tally: Tally,
    /// What should not have happened.
    pub findings: Findings,
}

impl ServerController {
    /// Does what it is told until nobody tells it anything; then gives the running server back.
    ///
    /// # Errors
    /// The server cannot be killed, or does not start.
    pub async fn run(mut self) -> anyhow::Result<ServerProcess> {
        let mut resume_at: Option<Instant> = None;
        loop {
            let log = self.server.log().clone();
            let next = log.count();
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => break,
                    Some(Command::Pause { pause, holding }) => {
                        self.pause(pause, holding).await?;
                        resume_at = Some(Instant::now() + pause);
                    }
                    Some(command) => {
                        self.resume()?;
                        resume_at = None;
                        self.execute(command).await?;
                    }
                },
                () = until(resume_at, &self.faults_over) => {
                    resume_at = None;
                    self.resume()?;
                }
                _ = log.wait_from(next, |_| false) => self.ended_by_itself().await?,
            }
        }
        self.resume()?;
        Ok(self.server)
    }

    async fn pause(&mut self, pause: Duration, holding: bool) -> anyhow::Result<()> {
        let is_long = pause > Duration::from_secs(5);
        let holds = self.catch(if holding { CATCHES_MAX } else { 1 }).await?;
        self.tally.add(match (holds, is_long) {
            (false, false) => "server paused",
            (false, true) => "server paused over 5 s",
            (true, false) => "server paused with a lock",
            (true, true) => "server paused with a lock over 5 s",
        });
        Ok(())
    }

    /// Pauses it so often until it holds a lock then; says whether it does.
    async fn catch(&self, tries: u32) -> anyhow::Result<bool> {
        for _ in 0..tries {
            self.resume()?;
            sleep(CATCH_EVERY).await;
            self.registry.sleeps(self.place);
            self.server.pause()?;
            if self.server.holds_lock() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn resume(&self) -> anyhow::Result<()> {
        self.server.resume()?;
        self.registry.wakes(self.place, self.server.address());
        Ok(())
    }

    async fn execute(&mut self, command: Command) -> anyhow::Result<()> {
        self.registry.sleeps(self.place);
        match command {
            Command::Kill { holding, down, false_starts } => {
                let holds = holding && self.catch(CATCHES_MAX).await?;
                self.tally.add(if holds { "server killed with a lock" } else { "server killed" });
                self.server.kill().await?;
                self.stay_down(down).await;
                for after in false_starts {
                    self.server.restart_and_kill(after).await?;
                    self.tally.add("server killed while it started");
                }
                self.start().await
            }
            Command::Tear { limit, down } => self.tear(limit, down).await,
            Command::KillUntil { dead, start } => {
                self.tally.add("server killed with all others");
                self.server.kill().await?;
                let _ = dead.send(());
                let _ = start.await;
                self.start().await
            }
            Command::Stop { down } => {
                self.tally.add("server stopped by SIGTERM");
                if let Err(error) = self.server.stop().await {
                    self.findings.add(format!("SIGTERM: {error:#}"));
                    self.server.kill().await?;
                }
                self.stay_down(down).await;
                self.start().await
            }
            Command::Move { down, ip } => {
                self.tally.add("server moved to another address");
                self.server.kill().await?;
                self.stay_down(down).await;
                self.server.set("SERVER_IP", ip);
                self.start().await
            }
            Command::Pause { .. } => Ok(()),
        }
    }

    async fn tear(&mut self, limit: u64, down: Duration) -> anyhow::Result<()> {
        let log = self.server.log().clone();
        let next = log.count();
        self.server.limit_files(Some(limit))?;
        let is_torn = tokio::select! {
            _ = log.wait_from(next, |_| false) => true,
            () = sleep(TEAR_TIMEOUT) => false,
            () = self.faults_over.cancelled() => false,
        };
        if !is_torn {
            // It may have died of it at the last moment: then that is seen as any other end is.
            return self.server.limit_files(None);
        }
        let status = self.server.ended().await?;
        if status.signal() != Some(Signal::XFSZ.as_raw()) {
            let error = self.server.process().failure(format!("ended by itself, with {status}"));
            self.findings.add(format!("{error:#}"));
        }
        self.tally.add("server dead within a write");
        self.stay_down(down).await;
        self.start().await
    }

    async fn stay_down(&self, down: Duration) {
        tokio::select! {
            () = sleep(down) => {}
            () = self.faults_over.cancelled() => {}
        }
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let mut last = anyhow!("not started");
        for _ in 0..STARTS_MAX {
            match self.server.restart().await {
                Ok(()) => {
                    self.registry.wakes(self.place, self.server.address());
                    return Ok(());
                }
                Err(error) => last = error,
            }
            self.findings.add(format!("a server did not start again: {last:#}"));
        }
        Err(last)
    }

    async fn ended_by_itself(&mut self) -> anyhow::Result<()> {
        let error = self.server.process().failure("ended, and nobody asked it to");
        self.findings.add(format!("{error:#}"));
        self.registry.sleeps(self.place);
        self.server.kill().await?;
        self.start().await
    }
}

/// Until `at`, but not longer than until the faults are over; for ever without `at`.
pub async fn until(at: Option<Instant>, faults_over: &CancellationToken) {
    let Some(at) = at else { return std::future::pending().await };
    tokio::select! {
        () = sleep_until(at) => {}
        () = faults_over.cancelled() => {}
    }
}
