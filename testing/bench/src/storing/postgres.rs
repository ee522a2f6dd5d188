//! PostgreSQL as a contestant: `synchronous_commit=on`, one multi-row INSERT a batch.
//!
//! One database cluster of its own serves all cases, a table each. What is spoken is the simple
//! query of its protocol: a text, and messages until it is ready again. Written here rather than
//! left to `pgbench`, so that the load is the same for everybody.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use super::Setting;
use super::bets::{self, Bets, Packets};
use super::load::{Speaker, Talk};
use super::measures::sample;
use super::postgres_wire as wire;
use super::served::Agencies;
use crate::daemon::{self, Daemon, User};
use crate::outcome::{Role, Sample};
use crate::stage::Stage;
use crate::turns::{Contestant, Entry, Pending};
use harness::processes;

const NAME: &str = "PostgreSQL";

/// How long it may take to be ready after it listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Besides the defaults: no checkpoint in the middle, no socket file.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "synchronous_commit=on",
    "max_connections=1100",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
];

/// A running database cluster, or why there is none.
pub enum Postgres {
    /// It runs.
    Running(Rc<Server>),
    /// It does not; what to do about it.
    Absent(String),
}

/// A database cluster of its own.
pub struct Server {
    daemon: Daemon,
    address: SocketAddr,
    place: TempDir,
}

impl Postgres {
    /// Makes and starts a database cluster, if PostgreSQL is installed.
    ///
    /// # Errors
    /// It is installed and does not start.
    pub async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let Some(programs) = programs() else {
            return Ok(Self::Absent("not installed: apt-get install postgresql".to_owned()));
        };
        let user = match User::for_servers() {
            Ok(user) => user,
            Err(reason) => return Ok(Self::Absent(reason)),
        };
        let place = stage.place("postgres")?;
        if let Some(user) = &user {
            user.give(place.path())?;
        }
        let data = place.path().join("data");
        if let Err(error) = make(&programs, user.as_ref(), &data).await {
            let reason = "no database cluster could be made there; try another --out";
            return Ok(Self::Absent(format!("{reason}: {error:#}")));
        }
        let address = daemon::free_address(Ipv4Addr::LOCALHOST)?;
        let mut command = daemon::foreign(&programs.join("postgres"), user.as_ref());
        command.arg("-D").arg(&data).arg("-p").arg(address.port().to_string());
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let mut daemon = Daemon::spawn("postgres", command, place.path())?;
        daemon.listens(address).await?;
        // It refuses connections for a moment after it has begun to listen.
        let since = Instant::now();
        while let Err(error) = wire::connect(address) {
            ensure!(since.elapsed() < READY_TIMEOUT, "PostgreSQL is not ready: {error:#}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self::Running(Rc::new(Server { daemon, address, place })))
    }

    /// A table and its agencies.
    ///
    /// # Errors
    /// The table cannot be made.
    pub fn enter(&self, setting: Setting, bets: &Bets) -> anyhow::Result<Entry> {
        let server = match self {
            Self::Running(server) => server,
            Self::Absent(reason) => return Ok(Entry::absent(NAME, reason)),
        };
        let mut control = wire::connect(server.address)?;
        wire::ask(&mut control, bets::TABLE)?;
        let agencies = (1..=setting.agencies).map(|agency| {
            let inserts = bets::inserts(setting, bets, agency);
            let packets = Packets::new(inserts.map(|insert| wire::query(&insert)));
            let talk = Inserts { packets, size: setting.batch.into() };
            Speaker::over(wire::connect(server.address)?, talk)
        });
        let agencies = Agencies::new(agencies.collect::<anyhow::Result<_>>()?);
        let server = Rc::clone(server);
        Ok(Entry::Present(Box::new(Table { server, control, agencies })))
    }

    /// Ends it, when all tables are gone.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self::Running(server) = self else { return Ok(()) };
        let Some(server) = Rc::into_inner(server) else { return Ok(()) };
        server.daemon.stop(Signal::INT).await?;
        server.place.close().context("remove what was stored")
    }
}

/// Where its programs are: on the path, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let is_whole = |directory: &Path| {
        ["postgres", "initdb"].iter().all(|program| directory.join(program).is_file())
    };
    let on_path = daemon::find("postgres").and_then(|file| Some(file.parent()?.to_owned()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    on_path.into_iter().chain(versions.into_iter().rev()).find(|directory| is_whole(directory))
}

async fn make(programs: &Path, user: Option<&User>, data: &Path) -> anyhow::Result<()> {
    let mut command: Command = daemon::foreign(&programs.join("initdb"), user);
    command.args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"]);
    command.arg("--no-locale").arg("--pgdata").arg(data).current_dir("/").kill_on_drop(true);
    let output = command.output().await.context("start initdb")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", error.trim().lines().last().unwrap_or_default());
    Ok(())
}

/// One agency's statements.
struct Inserts {
    packets: Packets,
    size: u64,
}

impl Talk for Inserts {
    fn next(&mut self, packet: &mut Vec<u8>) {
        self.packets.next(packet);
    }

    fn answer_bytes(&self, unread: &[u8]) -> Option<usize> {
        wire::answer_bytes(unread)
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        let wanted = format!("INSERT 0 {}", self.size);
        ensure!(wire::tag(answer)? == wanted, "answered {}", wire::tag(answer)?);
        Ok(self.size)
    }
}

/// One case's table.
struct Table {
    server: Rc<Server>,
    control: TcpStream,
    agencies: Agencies<Inserts>,
}

impl Table {
    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let id = self.server.daemon.id()?;
        let processor_time = || processes::family_time(id);
        let (spoken, processor) = self.agencies.round(time, processor_time).await?;
        Ok(sample(spoken, Some(processor), Some(processes::family_memory_mib(id)?)))
    }

    async fn check(mut self) -> anyhow::Result<()> {
        let wanted = format!("SELECT {}", self.agencies.acknowledged());
        drop(self.agencies);
        let stored = wire::ask(&mut self.control, "SELECT FROM bets;")?;
        ensure!(stored == wanted, "{stored} rows are stored, {wanted} acknowledged");
        wire::ask(&mut self.control, "DROP TABLE bets;").map(drop)
    }
}

impl Contestant for Table {
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
