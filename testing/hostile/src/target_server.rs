//! Where one attack takes place: a server of its own, and its volume.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;

use super::attack::Attack;
use super::attacks::Conversation;
use harness::cluster::ClusterPlan;
use harness::directory::{self, RunDirectory};
use harness::log::LogLine;
use harness::process::Launch;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use harness::volume::Volume;
use oracle::packet::AGENCIES_MAX;

/// Enough for a server to start, and for some connections beyond those that it keeps back.
const FULL_DESCRIPTORS: u32 = 128;

/// A running server.
#[derive(Debug)]
pub struct TargetServer {
    /// What it stores in.
    pub volume: Volume,
    server: ServerProcess,
    udp_port: UdpPort,
    // Last, so that it outlives the process in it.
    directory: RunDirectory,
}

/// The alarms of a server's log.
#[derive(Debug, Default)]
pub struct Alarms {
    /// How many lines.
    pub lines: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first of them that the attack is not expected to cause.
    pub first_unexpected: Option<String>,
}

impl Alarms {
    /// Those of a log. Only warnings of the actions `expected` are expected.
    fn of(log: &str, expected: &[&str]) -> Self {
        let mut alarms = Self::default();
        for line in log.lines().filter(|line| LogLine(line).is_alarm()) {
            alarms.lines += 1;
            alarms.bytes += line.len() as u64 + 1;
            let action = LogLine(line).field("action").unwrap_or_default();
            if LogLine(line).level() != "WARNING" || !expected.contains(&action) {
                alarms.first_unexpected.get_or_insert_with(|| line.to_owned());
            }
        }
        alarms
    }
}

impl TargetServer {
    /// Starts a server for `attack`.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(attack: Attack, binary: &Path) -> anyhow::Result<Self> {
        let directory = RunDirectory::temporary()?;
        let volume = Volume::new(&directory::make(&directory.path().join("volume"))?);
        let udp_port = UdpPort::take().context("take a UDP port")?;
        let plan = ClusterPlan {
            agencies: AGENCIES_MAX,
            volume: volume.clone(),
            ..ClusterPlan::new(binary, directory.path())
        };
        let mut launch = plan.server(1, udp_port.number().context("read a UDP port's number")?);
        if attack == Attack::Full {
            limit_descriptors(&mut launch);
        }
        let server = ServerProcess::spawn("server-1", launch, directory.path())?;
        Ok(Self { volume, server: server.listening().await?, udp_port, directory })
    }

    /// Where it accepts connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it receives datagrams.
    ///
    /// # Errors
    /// The system does not say.
    pub fn udp(&self) -> anyhow::Result<SocketAddr> {
        // To this one address: the harness, which does not read, has the port open, too.
        let port = self.udp_port.number().context("read a UDP port's number")?;
        Ok(SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), port)))
    }

    /// Its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn id(&self) -> anyhow::Result<u32> {
        let id = self.server.process().id();
        id.ok_or_else(|| self.server.process().failure("has ended"))
    }

    /// It must answer a new connection, from its files, and end in order at a SIGTERM.
    ///
    /// # Errors
    /// It does not.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        let mut later = Conversation::open(self.address()).await.context("connect afterwards")?;
        later.ask(&["AgencyStatus:80000"]).await.context("be answered afterwards")?;
        self.server.stop().await
    }

    /// The alarms of its whole log.
    ///
    /// # Errors
    /// There is no log.
    pub fn alarms(&self, attack: Attack) -> anyhow::Result<Alarms> {
        let path = self.server.process().log_path();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Alarms::of(&String::from_utf8_lossy(&text), attack.warnings()))
    }

    /// Keeps all files, and returns where they are.
    pub fn keep(&mut self) -> String {
        self.directory.keep();
        self.directory.path().display().to_string()
    }
}

/// Starts the server under a limit of open files, which it cannot raise.
fn limit_descriptors(launch: &mut Launch) {
    let script = format!("ulimit -n {FULL_DESCRIPTORS} && exec \"$0\" \"$@\"");
    let binary = std::mem::replace(&mut launch.binary, "/bin/sh".into());
    launch.arguments.splice(..0, ["-c".to_owned(), script, binary.display().to_string()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_expected_by_its_level_and_its_action() {
        let log = |level: &str, action: &str| {
            format!("2026-01-31 10:00:00 {level:8} action: {action} | result: fail\n")
        };
        let warnings = log("INFO", "listen") + &log("WARNING", "packet").repeat(2);
        let alarms = Alarms::of(&warnings, &["packet"]);
        assert_eq!((alarms.lines, alarms.first_unexpected), (2, None));
        let panic = "thread 'main' panicked at src/main.rs:1:1:\n".to_owned();
        for bad in [log("WARNING", "look"), log("ERROR", "packet"), panic] {
            let alarms = Alarms::of(&(warnings.clone() + &bad), &["packet"]);
            assert_eq!(alarms.lines, 3);
            assert_eq!(alarms.first_unexpected.as_deref(), Some(bad.trim_end()));
        }
    }
}
