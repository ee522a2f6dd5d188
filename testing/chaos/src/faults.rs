//! Causes each fault: it is done to a member, lasts, and is undone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use crate::checks;
use crate::environment::{Environment, Member};
use crate::fault::{Fault, LOCK_TIMEOUT};

/// How long a server runs before it is tried again to pause it while it holds a lock.
const CATCH_EVERY: Duration = Duration::from_millis(1);

/// Causes `fault`, and undoes it. Nothing is done to a client that has ended.
///
/// # Errors
/// The system or Docker failed.
pub async fn cause<E: Environment>(environment: Arc<E>, fault: Fault) -> anyhow::Result<()> {
    let lottery = environment.lottery();
    let report = &lottery.report;
    match fault {
        Fault::Kill { target, holding, down, false_starts } => {
            let Some(mut member) = lottery.lock(target).await? else { return Ok(()) };
            let holds = holding && pause(&mut *member, true).await? == Some(true);
            if !member.kill().await? {
                return Ok(());
            }
            report.fault(match (member.is_server(), holds) {
                (true, false) => "server killed",
                (true, true) => "server killed with a lock",
                (false, _) => "client killed",
            });
            lottery.last(down).await;
            for after in false_starts {
                member.start_and_kill(after).await?;
                report.fault("server killed while it started");
            }
            member.start().await
        }
        Fault::Stop { target, down } => {
            let Some(mut member) = lottery.lock(target).await? else { return Ok(()) };
            member.stop().await?;
            report.fault(match member.is_server() {
                true => "server stopped by SIGTERM",
                false => "client stopped by SIGTERM",
            });
            lottery.last(down).await;
            member.start().await
        }
        Fault::Pause { target, pause: time, holding } => {
            let Some(mut member) = lottery.lock(target).await? else { return Ok(()) };
            let Some(holds) = pause(&mut *member, holding).await? else { return Ok(()) };
            report.fault(match (member.is_server(), holds, time > LOCK_TIMEOUT) {
                (false, ..) => "client paused",
                (true, false, false) => "server paused",
                (true, false, true) => "server paused over 5 s",
                (true, true, false) => "server paused with a lock",
                (true, true, true) => "server paused with a lock over 5 s",
            });
            lottery.last(time).await;
            member.resume().await
        }
        Fault::KillAll { down } => {
            let mut servers = lottery.lock_all(&lottery.all_servers()).await?;
            for server in &mut servers {
                server.kill().await?;
                report.fault("server killed with all others");
            }
            checks::check_remains(lottery).context("look at what killed servers left")?;
            lottery.last(down).await;
            for server in &mut servers {
                server.start().await?;
            }
            Ok(())
        }
        special => environment.cause(special).await,
    }
}

/// Pauses it, if `holding` so often until it holds a lock then; returns whether it does, `None` if it
/// has ended.
async fn pause<M: Member>(member: &mut M, holding: bool) -> anyhow::Result<Option<bool>> {
    for _ in 1..if holding { M::CATCHES_MAX } else { 1 } {
        if !member.pause().await? {
            return Ok(None);
        }
        if member.holds_lock().await {
            return Ok(Some(true));
        }
        member.resume().await?;
        sleep(CATCH_EVERY).await;
    }
    let is_paused = member.pause().await?;
    Ok(if is_paused { Some(member.holds_lock().await) } else { None })
}
