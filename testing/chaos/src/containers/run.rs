//! One run in containers: the faults at their moments, the agencies' ends, and the verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::faults;
use super::observer::observe;
use super::plan::RunPlan;
use super::stage::{Seat, Stage};
use super::verdict;
use crate::trial::scene::{Scene, hold_as};
use crate::trial::summary::RunSummary;
use harness::log::LogLine;

/// How often it is looked how far the volume is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When nothing has been stored for so long, the next event comes before its moment.
const STALL: Duration = Duration::from_secs(3);

/// How long the agencies may take to end once the last fault is undone.
const CALM_TIMEOUT: Duration = Duration::from_secs(180);

/// How often a client that gave up is run again.
const AGAIN_MAX: u32 = 5;

/// Holds the run of `seed` in the containers of `project`.
pub(crate) async fn hold(seed: u64, binary: &Path, project: &str) -> RunSummary {
    let plan = RunPlan::of(seed);
    let place = (binary, project);
    hold_as(seed, &plan, async |scene: &Scene<'_>| play(&plan, place, scene).await).await
}

async fn play(plan: &RunPlan, place: (&Path, &str), scene: &Scene<'_>) -> anyhow::Result<u64> {
    let directory = scene.directory.path();
    let (findings, tallies) = (scene.findings.clone(), scene.tallies.clone());
    let stage = Stage::prepare(plan, place, directory, findings, tallies).await;
    let mut stage = stage.context("prepare")?;
    let started = stage.start().await.context("start");
    let stage = Arc::new(stage);
    let played = match started {
        Ok(()) => play_on(plan, &stage).await,
        Err(error) => Err(error),
    };
    if played.is_err() {
        // What is there of them says most about what went wrong.
        let _ = (stage.written_by_servers().await, stage.written_by_clients().await);
    }
    stage.take_down().await.context("take the containers down")?;
    played
}

async fn play_on(plan: &RunPlan, stage: &Arc<Stage>) -> anyhow::Result<u64> {
    let mut clients = JoinSet::new();
    for seat in stage.clients.clone() {
        let (stage, is_impatient) = (Arc::clone(stage), plan.is_impatient);
        clients.spawn(async move { keep(&stage, &seat, is_impatient).await });
    }
    let observed = Arc::clone(stage);
    let observer = AbortOnDropHandle::new(tokio::spawn(async move { observe(&observed).await }));
    let calm = CancellationToken::new();
    let causing = async {
        cause_all(plan, stage).await?;
        calm.cancel();
        anyhow::Ok(())
    };
    let ending = async {
        let late = async {
            calm.cancelled().await;
            sleep(CALM_TIMEOUT).await;
        };
        tokio::select! {
            ended = all_of(&mut clients) => ended,
            () = late => bail!("clients run {} s after all faults", CALM_TIMEOUT.as_secs()),
        }
    };
    tokio::try_join!(causing, ending)?;
    drop(observer);
    verdict::reach(stage).await
}

/// Waits until all of `tasks` have ended, or one of them has failed.
async fn all_of(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(joined) = tasks.join_next().await {
        joined.context("follow a client")??;
    }
    Ok(())
}

/// Has every fault happen at its moment, and waits until all of them are undone.
async fn cause_all(plan: &RunPlan, stage: &Arc<Stage>) -> anyhow::Result<()> {
    let mut faults = JoinSet::new();
    // Each stored row has its agency's number and a comma before it.
    let mut bytes = stage.bets.lines()? * 2;
    for agency in 1..=stage.bets.agencies() {
        bytes += stage.bets.file(agency).metadata()?.len();
    }
    for event in plan.events.clone() {
        wait_for(event.permille * bytes / 1_000, stage).await;
        let stage = Arc::clone(stage);
        faults.spawn(async move {
            if let Err(error) = faults::cause(&stage, event.fault).await {
                stage
                    .findings
                    .add(format!("a fault that could not be caused or undone: {error:#}"));
            }
        });
    }
    while let Some(joined) = faults.join_next().await {
        joined.context("follow a fault")?;
    }
    Ok(())
}

/// Waits until `bets.csv` has so many bytes, or nothing happens any more.
async fn wait_for(bytes: u64, stage: &Stage) {
    let (mut stored, mut since) = (0, Instant::now());
    loop {
        let now = std::fs::metadata(stage.volume.bets()).map_or(0, |file| file.len());
        if now >= bytes || stage.volume.draw().exists() {
            return;
        }
        if now != stored {
            (stored, since) = (now, Instant::now());
        } else if since.elapsed() > STALL {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether a client that ended so gave up, as those do that have little patience.
pub fn gave_up(code: i32, is_impatient: bool, reason: &str) -> bool {
    code == 1 && is_impatient && reason.contains("no progress in")
}

/// Waits until a client has ended with its winners; one that gave up is run again, as its agency
/// would.
async fn keep(stage: &Stage, seat: &Seat, is_impatient: bool) -> anyhow::Result<()> {
    let container = &seat.container;
    for _ in 0..=AGAIN_MAX {
        // Faults end it, too; whoever causes them starts it again.
        let (_held, state) = loop {
            container.wait().await?;
            let held = seat.hold().await;
            let state = container.state().await?;
            if !state.is_running {
                break (held, state);
            }
        };
        if state.exit_code == 0 {
            return Ok(());
        }
        let (name, code) = (container.short_name(), state.exit_code);
        let tail = container.log_tail(5).await?;
        let reason = tail.lines().rfind(|line| LogLine(line).is_alarm()).unwrap_or(&tail);
        if !gave_up(code, is_impatient, reason) {
            bail!("{name} ended with exit code {code}: {reason}");
        }
        stage.tallies.effects.add("client gave up, and was run again");
        container.start().await?;
    }
    bail!("{} gave up over and over", container.short_name())
}
