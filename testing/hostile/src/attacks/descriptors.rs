//! More connections than the server has descriptors for.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use procfs::process::{LimitValue, Process};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{connect, crowd, line};
use crate::attack::{Signals, Tally, Target};

/// How many connections more than the server takes come.
pub const CROWD: usize = 400;

/// How long a server may take to find that connections have come or gone.
const SETTLE: Duration = Duration::from_millis(500);

/// Connections come to a server that has started with few descriptors, and then go.
///
/// # Errors
/// A connection could not be made, or one is not served again afterwards.
pub async fn full(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let all = crowd(target.address, CROWD).await?;
    sleep(SETTLE).await;
    let _ = signals.ready.send(());
    signals.stop.cancelled().await;
    end(&target, all).await
}

/// The limit of a server that runs is lowered below what it uses; then connections come and go.
///
/// # Errors
/// As [`full`], or the limit cannot be changed.
pub async fn taken_away(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let before = set_limit(target.id, Some(16))?;
    let all = crowd(target.address, CROWD).await?;
    sleep(SETTLE).await;
    let _ = signals.ready.send(());
    signals.stop.cancelled().await;
    set_limit(target.id, before)?;
    end(&target, all).await
}

/// The connections go; then another one must be served.
async fn end(target: &Target, all: Vec<TcpStream>) -> anyhow::Result<Tally> {
    let connections = all.len() as u64;
    drop(all);
    let mut later = connect(target.address).await?;
    later.write_all(b"hello\n").await.context("ask")?;
    let answer = line(&mut later, &mut Vec::new()).await.context("connect when there is room")?;
    ensure!(answer.as_deref() == Some(b"Error:unknown packet"), "{answer:?} to hello");
    Ok(Tally { connections, ..Tally::default() })
}

/// Sets how many descriptors process `id` may have; gives what it was before.
fn set_limit(id: u32, current: Option<u64>) -> anyhow::Result<Option<u64>> {
    let pid = Pid::from_raw(id.cast_signed());
    let limits = Process::new(id.cast_signed()).and_then(|process| process.limits());
    let maximum = match limits.context("read the server's limits")?.max_open_files.hard_limit {
        LimitValue::Value(maximum) => Some(maximum),
        LimitValue::Unlimited => None,
    };
    let old = prlimit(pid, Resource::Nofile, Rlimit { current, maximum });
    Ok(old.context("change the server's limit of open files")?.current)
}
