//! One run, from its empty directory to its summary: the faults at their moments, the agencies'
//! ends, and the checks.
//!
//! **Invariant**: every violation, and a failure of the run itself, is in the summary; the files of
//! a run with violations stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::checks;
use crate::environment::{Announcement, Environment, Member as _, Shared};
use crate::fault::Kind;
use crate::faults::cause;
use crate::plan::RunPlan;
use crate::report::Report;
use crate::summary::RunSummary;
use crate::talkers::Talkers;
use harness::directory::RunDirectory;

/// How often the size of the volume is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long agencies may take to end in a run with a violation: clients may never end then.
const END_TIMEOUT_AFTER_VIOLATIONS: Duration = Duration::from_secs(10);

/// How often a client that gave up is run again.
const AGAIN_MAX: u32 = 5;

/// Performs the run of `seed`. Its directory is kept if there is a violation.
pub async fn perform<E: Environment>(seed: u64, binary: PathBuf, given: E::Given) -> RunSummary {
    let (report, plan) = (Report::default(), RunPlan::of(seed, E::KIND));
    let (mut bets, mut kept) = (0, None);
    if let Some(directory) = report.value_of(RunDirectory::temporary().map(Some)) {
        bets = report.value_of(
            start_and_finish::<E>(&plan, &given, (&binary, directory.path()), &report).await,
        );
        kept = keep_if_violated(directory, &plan, &report);
    }
    RunSummary { seed, bets, recorded: report.recorded(), kept }
}

/// Keeps the directory of a run that has violations, with the plan and the violations in `run.txt`;
/// returns where it is.
fn keep_if_violated(
    mut directory: RunDirectory,
    plan: &RunPlan,
    report: &Report,
) -> Option<PathBuf> {
    if !report.has_violations() {
        return None;
    }
    directory.keep();
    let text = format!("{plan:#?}\n\n{}\n", report.recorded().violations.join("\n"));
    // If it cannot be written, the summary still has the first line of each violation.
    let _ = std::fs::write(directory.path().join("run.txt"), text);
    Some(directory.path().to_owned())
}

async fn start_and_finish<E: Environment>(
    plan: &RunPlan,
    given: &E::Given,
    place: (&Path, &Path),
    report: &Report,
) -> anyhow::Result<u64> {
    let started = E::start(plan, given, place, report).await;
    let environment = Arc::new(started.context("start")?);
    // Reported before the end: it decides which files are kept.
    let bets = report.value_of(run_faults(plan, &environment).await);
    environment.finish().await.context("take everything down")?;
    Ok(bets)
}

async fn run_faults<E: Environment>(plan: &RunPlan, environment: &Arc<E>) -> anyhow::Result<u64> {
    let lottery = environment.lottery();
    // In containers no server has an address that this process keeps.
    let talks = E::KIND == Kind::Processes;
    let talkers = talks.then(|| Talkers::start(&lottery.registry, plan.seed, &lottery.report));
    let (mut clients, mut faults) = (Clients::of(environment), JoinSet::new());
    // Each stored row has its agency's number and a comma before it.
    let mut bytes = lottery.bets.lines()? * 2;
    for agency in 1..=lottery.bets.agencies() {
        bytes += lottery.bets.file(agency).metadata()?.len();
    }
    for event in &plan.events {
        clients.wait_for_bytes(event.permille * bytes / 1_000).await?;
        faults.spawn(cause(Arc::clone(environment), event.fault.clone()));
    }
    while !faults.is_empty() {
        if clients.look()? {
            lottery.all_ended.cancel();
        }
        let Ok(Some(joined)) = timeout(LOOK_EVERY, faults.join_next()).await else { continue };
        let caused = joined.context("follow a fault")?;
        lottery.report.value_of(caused.context("a fault could not be caused or undone"));
    }
    lottery.faults_over.cancel();
    lottery.lock_all(&lottery.all_servers()).await.context("see that all servers run")?;
    clients.wait_for_all().await?;
    if let Some(talkers) = talkers {
        talkers.finish(&lottery.volume).await.context("look at the messages")?;
    }
    checks::check_all(&**environment, clients.announced).await
}

/// Follows all clients to their ends.
struct Clients<E: Environment> {
    environment: Arc<E>,
    followed: JoinSet<anyhow::Result<Option<Announcement>>>,
    /// How many are followed, or were.
    count: usize,
    announced: Vec<Announcement>,
}

impl<E: Environment> Clients<E> {
    fn of(environment: &Arc<E>) -> Self {
        let (followed, announced) = (JoinSet::new(), Vec::new());
        Self { environment: Arc::clone(environment), followed, count: 0, announced }
    }

    /// Takes note of new clients and of ends; returns whether all have ended.
    fn look(&mut self) -> anyhow::Result<bool> {
        for client in self.environment.lottery().clients().into_iter().skip(self.count) {
            self.followed.spawn(run_to_its_end(Arc::clone(&self.environment), client));
            self.count += 1;
        }
        while let Some(joined) = self.followed.try_join_next() {
            self.announced.extend(joined.context("follow a client")??);
        }
        Ok(self.followed.is_empty())
    }

    /// Waits until `bets.csv` has so many bytes, nothing happens any more, or all have ended.
    async fn wait_for_bytes(&mut self, bytes: u64) -> anyhow::Result<()> {
        let (mut stored, mut since) = (0, Instant::now());
        let bets = self.environment.lottery().volume.bets();
        loop {
            let now = std::fs::metadata(&bets).map_or(0, |file| file.len());
            if now != stored {
                (stored, since) = (now, Instant::now());
            }
            if self.look()? || now >= bytes || since.elapsed() > E::STALL {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn wait_for_all(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        while !self.look()? {
            let report = &self.environment.lottery().report;
            let limit =
                if report.has_violations() { END_TIMEOUT_AFTER_VIOLATIONS } else { E::END_TIMEOUT };
            if since.elapsed() > limit {
                let (left, seconds) = (self.followed.len(), since.elapsed().as_secs());
                report.violation(format!("{left} clients still run {seconds} s after all faults"));
                self.followed.shutdown().await;
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Waits until a client has ended with its winners. One that gave up is run again, as its agency
/// would do.
async fn run_to_its_end<E: Environment>(
    environment: Arc<E>,
    client: Shared<E::Member>,
) -> anyhow::Result<Option<Announcement>> {
    let report = &environment.lottery().report;
    let mut gave_up = 0;
    loop {
        let end = client.lock().await.until_end();
        end.await?;
        let mut locked = client.lock().await;
        // Faults end it, too, and start it again.
        let Some(code) = locked.exit_code().await? else { continue };
        if code == 0 {
            return locked.announcement().await;
        }
        if gave_up == AGAIN_MAX || !locked.gave_up(code).await? {
            report.violation(locked.failure(&format!("ended with exit code {code}")).await);
            return Ok(None);
        }
        gave_up += 1;
        locked.start().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_run_stay_if_it_has_a_violation() {
        let plan = RunPlan::of(7, Kind::Processes);
        for violation in [None, Some("a row is lost")] {
            let (directory, report) = (RunDirectory::temporary().unwrap(), Report::default());
            let path = directory.path().to_owned();
            report.value_of(violation.map_or(Ok(()), Err));
            let kept = keep_if_violated(directory, &plan, &report);
            assert_eq!((kept.is_some(), path.exists()), (violation.is_some(), violation.is_some()));
            if let Some(kept) = kept {
                let text = std::fs::read_to_string(kept.join("run.txt")).unwrap();
                assert!(text.starts_with("RunPlan {") && text.ends_with("\n\na row is lost\n"));
                std::fs::remove_dir_all(kept).unwrap();
            }
        }
    }
}
