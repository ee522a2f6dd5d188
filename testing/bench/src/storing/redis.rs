//! Redis with `appendfsync always` as a contestant.
//!
//! A batch is one RPUSH to its agency's list, a bet a value: what most users would take, and
//! cheaper than a stream's XADD.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tempfile::TempDir;

use super::Setting;
use super::bets::{Bets, Cycle};
use super::load::{Agency, Load};
use crate::daemon::{self, Daemon};
use crate::outcome::{Role, Sample};
use crate::place::Place;
use crate::turns::{Contestant, Entry, Pending};

const NAME: &str = "Redis";

/// Synced before each answer; without snapshots and rewrites, which would only disturb.
const SETTINGS: &str = "--bind 127.0.0.1 --appendonly yes --appendfsync always \
                        --auto-aof-rewrite-percentage 0 --loglevel notice --daemonize no";

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
    daemon: Daemon,
    load: Load<Pushes>,
    address: SocketAddr,
    agencies: u32,
    place: TempDir,
}

impl Redis {
    /// All lists together are exactly as long as what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        let acknowledged = self.load.acknowledged();
        drop(self.load);
        let mut connection = connect(self.address).await?;
        let mut stored: u64 = 0;
        for agency in 1..=self.agencies {
            let length: u64 = connection.llen(format!("bets:{agency}")).await.context("LLEN")?;
            stored += length;
        }
        ensure!(stored == acknowledged, "{stored} bets are stored, {acknowledged} acknowledged");
        drop(connection);
        self.daemon.stop(Signal::TERM).await?;
        self.place.close().context("remove what was stored")
    }
}

/// Starts a Redis, if it is installed.
///
/// # Errors
/// It is installed and does not start.
pub async fn enter(setting: Setting, bets: &Bets, place: &Place) -> anyhow::Result<Entry> {
    let Some(program) = daemon::find("redis-server") else {
        return Ok(Entry::absent(NAME, "not installed: apt-get install redis-server"));
    };
    let directory = place.directory("redis")?;
    let address = daemon::free_address(Ipv4Addr::LOCALHOST)?;
    let mut command = daemon::foreign(&program, None);
    command.args(SETTINGS.split_whitespace()).args(["--save", ""]);
    command.arg("--port").arg(address.port().to_string());
    let mut daemon = Daemon::spawn("redis", command, directory.path())?;
    daemon.listens(address).await?;
    let (bets, Setting { agencies, batch }) = (bets.clone(), setting);
    let load = Load::connect(agencies, move |agency| {
        let batches = bets.batches(batch, agency);
        let values = |batch: &[[String; 5]]| batch.iter().map(|bet| bet.join(";")).collect();
        let batches = Cycle::new(batches.map(values));
        let (list, size) = (format!("bets:{agency}"), batch.into());
        async move { Ok(Pushes { connection: connect(address).await?, list, batches, size, length: 0 }) }
    });
    let load = load.await?;
    Ok(Entry::Present(Box::new(Redis { daemon, load, address, agencies, place: directory })))
}

impl Contestant for Redis {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(async move {
            let daemon = &self.daemon;
            let (round, processor) = self.load.round(time, || daemon.processor_time()).await?;
            Ok(round.sample(Some(processor), Some(daemon.memory_mib()?)))
        })
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}
