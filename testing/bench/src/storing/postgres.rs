//! PostgreSQL as a contestant: `synchronous_commit=on`, one multi-row INSERT a batch.
//!
//! One database cluster of its own serves all cases, a table each.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load, Loaded, Store, Usage};
use crate::foreign::{self, NOBODY, READY_TIMEOUT, STOP_TIMEOUT};
use crate::instances::id;
use crate::place::Place;
use crate::results::Role;
use crate::turns::Entry;
use harness::log::LogLine;
use harness::process::ChildProcess;
use harness::processes;

/// Its name in tables.
pub const NAME: &str = "PostgreSQL";

/// Its directory.
const DATA: &str = "data";

const INITDB: [&str; 7] = [
    "--auth=trust",
    "--username=postgres",
    "--no-sync",
    "--encoding=UTF8",
    "--no-locale",
    "--pgdata",
    DATA,
];

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

/// A database cluster of its own.
pub struct Postgres {
    process: ChildProcess,
    address: SocketAddr,
    _place: TempDir,
}

impl Postgres {
    /// Makes and starts a database cluster, if PostgreSQL is installed; else says what to do.
    ///
    /// # Errors
    /// It is installed and does not start.
    pub async fn start(place: &Place) -> anyhow::Result<Result<Self, String>> {
        let Some(programs) = programs() else {
            return Ok(Err("not installed: apt-get install postgresql".to_owned()));
        };
        // It refuses to run as root.
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        if user.is_some() && foreign::find("setpriv").is_none() {
            return Ok(Err("does not run as root: be another user".to_owned()));
        }
        let place = place.directory("postgres")?;
        chown(place.path(), user, user).context("give a directory to PostgreSQL")?;
        let run = |program: &str, arguments: &[&str]| {
            let launch = foreign::launch(&programs.join(program), user, arguments);
            ChildProcess::spawn(program, &launch, place.path())
        };
        if let Err(error) = run("initdb", &INITDB)?.succeeded(READY_TIMEOUT).await {
            let reason = "no database cluster could be made there; try another --out";
            return Ok(Err(format!("{reason}: {error:#}")));
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, foreign::free_port()?));
        let port = address.port().to_string();
        let mut arguments = vec!["-D", DATA, "-p", &port];
        arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let process = run("postgres", &arguments)?;
        let is_ready = |line: LogLine<'_>| line.0.contains("ready to accept connections");
        process.wait_for("that it is ready", READY_TIMEOUT, is_ready).await?;
        Ok(Ok(Self { process, address, _place: place }))
    }

    /// A table and its agencies.
    ///
    /// # Errors
    /// The table cannot be made.
    pub async fn enter(&self, setting: Setting, bets: &Bets) -> anyhow::Result<Entry<'_>> {
        let control = connect(self.address).await?;
        control.batch_execute(TABLE).await.context("make a table")?;
        let mut agencies = Vec::new();
        for agency in 1..=setting.agencies {
            let batches = bets.batches(setting.batch, agency).take(INSERTS_EACH);
            agencies.push(Inserts {
                client: connect(self.address).await?,
                inserts: Cycle::new(batches.map(|batch| bets::insert(batch, agency))),
                size: setting.batch.into(),
            });
        }
        let store = Table { server: self, control };
        Ok(Entry::new(NAME, Role::Peer, Loaded { store, load: Load::new(agencies) }))
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.process.stop(Signal::INT, STOP_TIMEOUT).await
    }
}

/// Where its programs are: on the path, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let is_whole = |directory: &Path| {
        ["postgres", "initdb"].iter().all(|program| directory.join(program).is_file())
    };
    let on_path = foreign::find("postgres").and_then(|file| Some(file.parent()?.to_owned()));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    on_path.into_iter().chain(versions.into_iter().rev()).find(|directory| is_whole(directory))
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
struct Table<'s> {
    server: &'s Postgres,
    control: Client,
}

impl Store for Table<'_> {
    fn usage(&self) -> anyhow::Result<Usage> {
        let id = id(&self.server.process)?;
        let (processor, memory) = (processes::family_time(id)?, processes::family_memory_mib(id)?);
        Ok(Usage { processor: Some(processor), memory: Some(memory) })
    }

    async fn finish(self) -> anyhow::Result<Option<u64>> {
        let row = self.control.query_one("SELECT count(*) FROM bets", &[]).await;
        let stored: i64 = row.context("count the rows")?.get(0);
        self.control.batch_execute("DROP TABLE bets").await.context("drop the table")?;
        Ok(Some(stored.cast_unsigned()))
    }
}
