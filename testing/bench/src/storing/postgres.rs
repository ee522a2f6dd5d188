//! PostgreSQL as a contestant: `synchronous_commit=on`, one multi-row INSERT a batch.
//!
//! One database cluster of its own serves all cases, a table each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load};
use crate::daemon::{self, Daemon, User};
use crate::outcome::{Role, Sample};
use crate::place::Place;
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

/// The table of bets. Without an index: none of the others has one.
const TABLE: &str = "CREATE TABLE bets (agency integer NOT NULL, first_name text NOT NULL, \
     last_name text NOT NULL, document text NOT NULL, birthdate date NOT NULL, \
     number smallint NOT NULL)";

/// How many different batches an agency has.
const INSERTS_EACH: usize = 16;

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
    pub async fn start(place: &Place) -> anyhow::Result<Self> {
        let Some(programs) = programs() else {
            return Ok(Self::Absent("not installed: apt-get install postgresql".to_owned()));
        };
        let user = match User::for_servers() {
            Ok(user) => user,
            Err(reason) => return Ok(Self::Absent(reason)),
        };
        let place = place.directory("postgres")?;
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
        while let Err(error) = connect(address).await {
            ensure!(since.elapsed() < READY_TIMEOUT, "PostgreSQL is not ready: {error:#}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self::Running(Rc::new(Server { daemon, address, place })))
    }

    /// A table and its agencies.
    ///
    /// # Errors
    /// The table cannot be made.
    pub async fn enter(&self, setting: Setting, bets: &Bets) -> anyhow::Result<Entry> {
        let server = match self {
            Self::Running(server) => server,
            Self::Absent(reason) => return Ok(Entry::absent(NAME, reason)),
        };
        let address = server.address;
        let control = connect(address).await?;
        control.batch_execute(TABLE).await.context("make a table")?;
        let bets = bets.clone();
        let load = Load::connect(setting.agencies, move |agency| {
            let batches = bets.batches(setting.batch, agency).take(INSERTS_EACH);
            let inserts = Cycle::new(batches.map(|batch| bets::insert(batch, agency)));
            let size = setting.batch.into();
            async move { Ok(Inserts { client: connect(address).await?, inserts, size }) }
        });
        let (server, load) = (Rc::clone(server), load.await?);
        Ok(Entry::Present(Box::new(Table { server, control, load })))
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

/// Connects as `postgres`; what drives the connection is a task of this runtime.
async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let (host, port) = (address.ip(), address.port());
    let settings = format!("host={host} port={port} user=postgres dbname=postgres");
    let connected = tokio_postgres::connect(&settings, NoTls).await;
    let (client, connection) = connected.context("connect to PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

/// An agency whose batches are one statement each, as text.
struct Inserts {
    client: Client,
    inserts: Cycle<String>,
    size: u64,
}

impl Agency for Inserts {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let answer = self.client.simple_query(self.inserts.next()?).await.context("insert")?;
        let rows = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        ensure!(rows == Some(self.size), "{rows:?} rows were inserted, not {}", self.size);
        Ok(self.size)
    }
}

/// One case's table.
struct Table {
    server: Rc<Server>,
    control: Client,
    load: Load<Inserts>,
}

impl Table {
    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let id = self.server.daemon.id()?;
        let (round, processor) = self.load.round(time, || processes::family_time(id)).await?;
        Ok(round.sample(Some(processor), Some(processes::family_memory_mib(id)?)))
    }

    async fn check(self) -> anyhow::Result<()> {
        let acknowledged = self.load.acknowledged();
        drop(self.load);
        let row = self.control.query_one("SELECT count(*) FROM bets", &[]).await;
        let stored: i64 = row.context("count the rows")?.get(0);
        ensure!(
            stored.cast_unsigned() == acknowledged,
            "{stored} rows are stored, {acknowledged} acknowledged"
        );
        self.control.batch_execute("DROP TABLE bets").await.context("drop the table")
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
