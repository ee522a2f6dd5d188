//! SQLite as a contestant: write-ahead log, `synchronous=FULL`, a transaction a batch.
//!
//! It has one writer at a time. So there is one, its own shell, and agencies stand in its queue:
//! several writers would only wait for each other's locks, with pauses between the attempts.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};

use super::Setting;
use super::bets::{self, Bets, Packets};
use super::load::{Speaker, Talk};
use super::measures::sample;
use super::served::Agencies;
use crate::daemon;
use crate::outcome::{Role, Sample};
use crate::stage::Stage;
use crate::turns::{Contestant, Entry, Pending};
use harness::processes;

const NAME: &str = "SQLite";

/// Transactions, each asked for the number of rows that it changed.
struct Inserts {
    packets: Packets,
    size: u64,
}

impl Talk for Inserts {
    fn next(&mut self, packet: &mut Vec<u8>) {
        self.packets.next(packet);
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        let wanted = format!("{}\n", self.size);
        ensure!(answer == wanted.as_bytes(), "answered {}", String::from_utf8_lossy(answer));
        Ok(self.size)
    }
}

/// A database with its one writer.
struct Sqlite {
    child: Child,
    agencies: Agencies<Inserts>,
    program: std::path::PathBuf,
    place: tempfile::TempDir,
}

/// Makes a database, if SQLite's shell is installed.
///
/// # Errors
/// It is installed and does not work.
pub async fn enter(setting: Setting, bets: &Bets, stage: &Stage) -> anyhow::Result<Entry> {
    let Some(program) = daemon::find("sqlite3") else {
        return Ok(Entry::absent(NAME, "not installed: apt-get install sqlite3"));
    };
    let place = stage.place("sqlite")?;
    let database = place.path().join("bets.db");
    let table = format!("PRAGMA journal_mode=WAL; {}", bets::TABLE);
    ask(&program, &database, &table).await?;
    let (ours, its) = connection().context("connect to SQLite's shell")?;
    let input = its.try_clone().context("share a connection")?;
    let child = shell(&program, &database)
        .args(["-cmd", "PRAGMA synchronous=FULL;"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(its)))
        .spawn()
        .context("start SQLite's shell")?;
    let packets = (1..=setting.agencies).flat_map(|agency| {
        let inserts = bets::inserts(setting, bets, agency);
        inserts.map(|insert| format!("{insert}\nSELECT changes();\n").into_bytes())
    });
    let talk = Inserts { packets: Packets::new(packets), size: setting.batch.into() };
    let agencies = Agencies::new(vec![Speaker::over(ours, talk)?.shared_by(setting.agencies)]);
    Ok(Entry::Present(Box::new(Sqlite { child, agencies, program, place })))
}

/// Both ends of a connection of this machine with itself.
fn connection() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (its, _) = listener.accept()?;
    its.set_nodelay(true)?;
    Ok((ours, its))
}

/// The shell on `database`, without anybody's settings of it.
fn shell(program: &Path, database: &Path) -> Command {
    let mut command = daemon::foreign(program, None);
    command.arg("-batch").arg("-bail").arg(database).env_clear().kill_on_drop(true);
    command
}

/// Runs `sql`, and gives what it prints.
async fn ask(program: &Path, database: &Path, sql: &str) -> anyhow::Result<String> {
    let output = shell(program, database).arg(sql).output().await.context("start SQLite")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "SQLite: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Sqlite {
    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let id = self.child.id().context("SQLite's shell has ended")?;
        let processor_time = || processes::processor_time(id);
        let (spoken, processor) = self.agencies.round(time, processor_time).await?;
        Ok(sample(spoken, Some(processor), Some(processes::memory_high_mib(id)?)))
    }

    async fn check(mut self) -> anyhow::Result<()> {
        let acknowledged = self.agencies.acknowledged().to_string();
        drop(self.agencies);
        let status = self.child.wait().await.context("wait for SQLite's shell")?;
        ensure!(status.success(), "SQLite's shell ended with {status}");
        let database = self.place.path().join("bets.db");
        let stored = ask(&self.program, &database, "SELECT count(*) FROM bets;").await?;
        ensure!(stored == acknowledged, "{stored} rows are stored, {acknowledged} acknowledged");
        self.place.close().context("remove what was stored")
    }
}

impl Contestant for Sqlite {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.measure(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
