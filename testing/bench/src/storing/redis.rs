//! Redis with `appendfsync always` as a contestant.
//!
//! A batch is one RPUSH to its agency's list, a bet a value: what most users would take, and
//! cheaper than a stream's XADD.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tempfile::TempDir;

use super::Setting;
use super::bets::{Bets, Cycle, Fields};
use super::load::{Agency, Load, Loaded, Store, Usage};
use crate::foreign::{self, READY_TIMEOUT, STOP_TIMEOUT};
use crate::instances::{memory_mib, processor_time};
use crate::place::Place;
use crate::results::Role;
use crate::turns::Entry;
use harness::log::LogLine;
use harness::process::ChildProcess;

const NAME: &str = "Redis";

/// Synced before each answer; without snapshots and rewrites, which would only disturb. Its
/// log is the file in which the harness looks for lines.
const SETTINGS: &str = "--bind 127.0.0.1 --appendonly yes --appendfsync always \
                        --auto-aof-rewrite-percentage 0 --loglevel notice --logfile redis.log --daemonize no";

async fn connect(address: SocketAddr) -> anyhow::Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}")).context("name Redis")?;
    client.get_multiplexed_async_connection().await.context("connect to Redis")
}

/// An agency that pushes its batches.
struct Pushes {
    connection: MultiplexedConnection,
    list: String,
    batches: Cycle<Vec<String>>,
    size: u64,
    length: u64,
}

impl Agency for Pushes {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let batch = self.batches.next()?;
        // The answer is the length of the list after it.
        let length: u64 = self.connection.rpush(&self.list, batch).await.context("RPUSH")?;
        self.length += self.size;
        ensure!(length == self.length, "a list of {length} bets, not of {}", self.length);
        Ok(self.size)
    }
}

/// A Redis of its own.
struct Redis {
    process: ChildProcess,
    address: SocketAddr,
    agencies: u32,
    _place: TempDir,
}

/// Starts a Redis, if it is installed.
///
/// # Errors
/// It is installed and does not start.
pub async fn enter(setting: Setting, bets: &Bets, place: &Place) -> anyhow::Result<Entry<'static>> {
    let Some(program) = foreign::find("redis-server") else {
        return Ok(Entry::absent(NAME, "not installed: apt-get install redis-server"));
    };
    let directory = place.directory("redis")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, foreign::free_port()?));
    let port = address.port().to_string();
    let mut arguments: Vec<&str> = SETTINGS.split_whitespace().collect();
    arguments.extend(["--save", "", "--port", &port]);
    let launch = foreign::launch(&program, None, &arguments);
    let process = ChildProcess::spawn("redis", &launch, directory.path())?;
    let is_ready = |line: LogLine<'_>| line.0.contains("Ready to accept connections");
    process.wait_for("that it is ready", READY_TIMEOUT, is_ready).await?;
    let mut agencies = Vec::new();
    for agency in 1..=setting.agencies {
        let values = |batch: &[Fields]| batch.iter().map(|bet| bet.join(";")).collect();
        agencies.push(Pushes {
            connection: connect(address).await?,
            list: format!("bets:{agency}"),
            batches: Cycle::new(bets.batches(setting.batch, agency).map(values)),
            size: setting.batch.into(),
            length: 0,
        });
    }
    let store = Redis { process, address, agencies: setting.agencies, _place: directory };
    Ok(Entry::new(NAME, Role::Peer, Loaded { store, load: Load::new(agencies) }))
}

impl Store for Redis {
    fn usage(&self) -> anyhow::Result<Usage> {
        let (processor, memory) = (processor_time(&self.process)?, memory_mib(&self.process)?);
        Ok(Usage { processor: Some(processor), memory: Some(memory) })
    }

    /// Counts what all lists together have.
    async fn finish(mut self) -> anyhow::Result<Option<u64>> {
        let mut connection = connect(self.address).await?;
        let mut stored = 0;
        for agency in 1..=self.agencies {
            let length: u64 = connection.llen(format!("bets:{agency}")).await.context("LLEN")?;
            stored += length;
        }
        drop(connection);
        self.process.stop(Signal::TERM, STOP_TIMEOUT).await?;
        Ok(Some(stored))
    }
}
