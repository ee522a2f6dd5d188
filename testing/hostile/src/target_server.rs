//! Where one attack takes place: a server of its own, its volume, and what it costs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::attack::Attack;
use harness::cluster::Plan;
use harness::directory::{self, RunDirectory};
use harness::log::LogLine;
use harness::process::Launch;
use harness::processes;
use harness::raw_connection::RawConnection;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use harness::volume::Volume;
use oracle::packet::AGENCIES_MAX;

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

/// What a server has told in its log at which a person should look.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    /// How many lines.
    pub lines: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first of them that the attack is not expected to cause.
    pub first_unexpected: Option<String>,
}

impl Alarms {
    /// Those of a log. Warnings of the actions `expected` are no surprise; whatever is worse is.
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
        let plan = Plan {
            binary: binary.to_owned(),
            servers: 1,
            agencies: AGENCIES_MAX,
            winner_number: 7574,
            network: [127, 0, 0],
            directory: directory.path().to_owned(),
            volume: volume.clone(),
            server_settings: Vec::new(),
        };
        let launch = plan.server(1, udp_port.number().context("tell a UDP port's number")?);
        let launch = match attack.server_descriptors() {
            Some(descriptors) => limited(launch, descriptors),
            None => launch,
        };
        let server = ServerProcess::spawn("server-1", launch, directory.path())?;
        Ok(Self { volume, server: server.listening().await?, udp_port, directory })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it hears datagrams.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn udp(&self) -> anyhow::Result<SocketAddr> {
        // To this one address: the port is held open by the harness, too, which does not read.
        let port = self.udp_port.number().context("tell a UDP port's number")?;
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

    /// What it has taken of a processor so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        processes::processor_time(self.id()?)
    }

    /// The most memory that it has had resident, in MiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        processes::memory_high_mib(self.id()?)
    }

    /// It must answer a new connection, from its files.
    ///
    /// # Errors
    /// It does not.
    pub async fn check_alive(&self) -> anyhow::Result<()> {
        let asked = RawConnection::open(self.address()).await;
        let answer = asked.context("connect afterwards")?.ask("AgencyStatus:80000").await;
        let answer = answer.context("be answered afterwards")?;
        ensure!(answer.ends_with(";open"), "{answer:?} to AgencyStatus afterwards");
        Ok(())
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It does not end in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
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

    /// Keeps all files, and says where they are.
    pub fn keep(&mut self) -> String {
        self.directory.keep();
        self.directory.path().display().to_string()
    }
}

/// The same server under a limit of open files, which it cannot raise.
fn limited(launch: Launch, descriptors: u32) -> Launch {
    let Launch { binary, arguments, settings } = launch;
    let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let mut all = vec!["-c".to_owned(), script, binary.display().to_string()];
    all.extend(arguments);
    Launch { binary: "/bin/sh".into(), arguments: all, settings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_expected_by_its_level_and_its_action() {
        let log = |level: &str, action: &str| {
            format!("2026-01-31 10:00:00 {level:8} action: {action} | result: fail\n")
        };
        let few = [log("INFO", "listen"), log("WARNING", "packet"), log("WARNING", "packet")];
        let few = few.concat();
        let alarms = Alarms::of(&few, &["packet"]);
        assert_eq!((alarms.lines, alarms.first_unexpected), (2, None));
        let panic = "thread 'main' panicked at src/main.rs:1:1:\n".to_owned();
        for bad in [log("WARNING", "look"), log("ERROR", "packet"), panic] {
            let alarms = Alarms::of(&(few.clone() + &bad), &["packet"]);
            assert_eq!(alarms.lines, 3);
            assert_eq!(alarms.first_unexpected.as_deref(), Some(bad.trim_end()));
        }
    }
}
