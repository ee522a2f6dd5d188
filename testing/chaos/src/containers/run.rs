//! One run in containers: the faults at their moments, the agencies' ends, and the checks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::checks;
use super::environment::{ContainerEnvironment, ManagedContainer};
use super::faults;
use super::observer::observe;
use super::plan::ContainerPlan;
use crate::common::run_context::{RunContext, run_as};
use crate::common::summary::RunSummary;
use harness::log::LogLine;

/// How often it is looked how far the volume is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When nothing has been stored for so long, the next event comes before its moment.
const STALL: Duration = Duration::from_secs(3);

/// How long the agencies may take to end once the last fault is undone.
const END_TIMEOUT: Duration = Duration::from_secs(180);

/// How often a client that gave up is run again.
const AGAIN_MAX: u32 = 5;

/// Holds the run of `seed` in the containers of `project`.
pub async fn hold(seed: u64, binary: &Path, project: &str) -> RunSummary {
    let plan = ContainerPlan::of(seed);
    let place = (binary, project);
    run_as(seed, &plan, async |run: &RunContext<'_>| play(&plan, place, run).await).await
}

async fn play(
    plan: &ContainerPlan,
    place: (&Path, &str),
    run: &RunContext<'_>,
) -> anyhow::Result<u64> {
    let directory = run.directory.path();
    let (findings, tallies) = (run.findings.clone(), run.tallies.clone());
    let environment =
        ContainerEnvironment::prepare(plan, place, directory, findings, tallies).await;
    let mut environment = environment.context("prepare")?;
    let started = environment.start().await.context("start");
    let environment = Arc::new(environment);
    let played = match started {
        Ok(()) => run_faults(plan, &environment).await,
        Err(error) => Err(error),
    };
    if played.is_err() {
        // What is there of them says most about what went wrong.
        let _ = (environment.written_by_servers().await, environment.written_by_clients().await);
    }
    environment.take_down().await.context("take the containers down")?;
    played
}

async fn run_faults(
    plan: &ContainerPlan,
    environment: &Arc<ContainerEnvironment>,
) -> anyhow::Result<u64> {
    let mut clients = JoinSet::new();
    for managed in environment.clients.clone() {
        let (environment, is_impatient) = (Arc::clone(environment), plan.is_impatient);
        clients.spawn(async move { run_to_its_end(&environment, &managed, is_impatient).await });
    }
    let observed = Arc::clone(environment);
    let observer = AbortOnDropHandle::new(tokio::spawn(async move { observe(&observed).await }));
    let faults_over = CancellationToken::new();
    let causing = async {
        cause_all(plan, environment).await?;
        faults_over.cancel();
        anyhow::Ok(())
    };
    let ending = async {
        let late = async {
            faults_over.cancelled().await;
            sleep(END_TIMEOUT).await;
        };
        tokio::select! {
            ended = all_of(&mut clients) => ended,
            () = late => bail!("clients run {} s after all faults", END_TIMEOUT.as_secs()),
        }
    };
    tokio::try_join!(causing, ending)?;
    drop(observer);
    checks::check_all(environment).await
}

/// Waits until all of `tasks` have ended, or one of them has failed.
async fn all_of(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(joined) = tasks.join_next().await {
        joined.context("follow a client")??;
    }
    Ok(())
}

/// Has every fault happen at its moment, and waits until all of them are undone.
async fn cause_all(
    plan: &ContainerPlan,
    environment: &Arc<ContainerEnvironment>,
) -> anyhow::Result<()> {
    let mut faults = JoinSet::new();
    // Each stored row has its agency's number and a comma before it.
    let mut bytes = environment.bets.lines()? * 2;
    for agency in 1..=environment.bets.agencies() {
        bytes += environment.bets.file(agency).metadata()?.len();
    }
    for event in plan.events.clone() {
        wait_for(event.permille * bytes / 1_000, environment).await;
        let environment = Arc::clone(environment);
        faults.spawn(async move {
            if let Err(error) = faults::cause(&environment, event.fault).await {
                environment
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
async fn wait_for(bytes: u64, environment: &ContainerEnvironment) {
    let (mut stored, mut since) = (0, Instant::now());
    loop {
        let now = std::fs::metadata(environment.volume.bets()).map_or(0, |file| file.len());
        if now >= bytes || environment.volume.draw().exists() {
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
async fn run_to_its_end(
    environment: &ContainerEnvironment,
    managed: &ManagedContainer,
    is_impatient: bool,
) -> anyhow::Result<()> {
    let container = &managed.container;
    for _ in 0..=AGAIN_MAX {
        // Faults end it, too; what causes them starts it again.
        let (_held, state) = loop {
            container.wait().await?;
            let held = managed.lock().await;
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
        environment.tallies.effects.add("client gave up, and was run again");
        container.start().await?;
    }
    bail!("{} gave up over and over", container.short_name())
}
