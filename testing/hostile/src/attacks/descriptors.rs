//! More connections than the server has descriptors for.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::time::sleep;

use super::{Conversation, crowd};
use crate::attack::{Report, Target};

/// How many connections come, which is more than the server takes.
const CROWD: usize = 400;

/// The limit of a server whose descriptors are taken away.
const TAKEN_AWAY: u64 = 16;

/// How long a server may take to notice that connections have come or gone.
const SETTLE: Duration = Duration::from_millis(500);

/// Connections come to a server that has started with few descriptors, and then go; then another
/// one must be served.
pub async fn full(target: &Target) -> anyhow::Result<Report> {
    come(target).await?;
    serve_again(target).await
}

/// The limit of a server that runs is lowered below what it uses; then as above.
pub async fn taken_away(target: &Target) -> anyhow::Result<Report> {
    let before = set_limit(target.id, Some(TAKEN_AWAY))?;
    come(target).await?;
    set_limit(target.id, before)?;
    serve_again(target).await
}

async fn come(target: &Target) -> anyhow::Result<()> {
    let _all = crowd(target.address, CROWD, None).await?;
    sleep(SETTLE).await;
    target.hold().await;
    Ok(())
}

async fn serve_again(target: &Target) -> anyhow::Result<Report> {
    let mut later = Conversation::open(target.address).await?;
    later.ask(&["hello"]).await.context("be served when there is room")?;
    Ok(Report { connections: CROWD as u64, ..Report::default() })
}

/// Sets how many descriptors process `id` may have; returns what it was before.
fn set_limit(id: u32, current: Option<u64>) -> anyhow::Result<Option<u64>> {
    let pid = Pid::from_raw(id.cast_signed());
    // The server has it from this process.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current, maximum });
    Ok(old.context("change the server's limit of open files")?.current)
}
