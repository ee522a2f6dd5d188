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
use crate::faults::cause;
use crate::plan::RunPlan;
use crate::report::Report;
use crate::summary::RunSummary;
use harness::directory::RunDirectory;

/// How often the size of the volume is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long agencies may take to end in a run with a violation: clients may never end then.
const END_TIMEOUT_AFTER_VIOLATIONS: Duration = Duration::from_secs(10);

/// How often a client that gave up is run again.
const AGAIN_MAX: u32 = 5;

/// Holds the run of `seed`. Its directory is kept if there is a violation.
pub async fn hold<E: Environment>(seed: u64, given: E::Given) -> RunSummary {
    let (started, report, plan) = (Instant::now(), Report::default(), RunPlan::of(seed, E::KIND));
    let (mut played, mut kept) = (Ok(0), None);
    match RunDirectory::temporary() {
        Ok(directory) => {
            played = play::<E>(&plan, &given, directory.path(), &report).await;
            kept = keep_if_wrong(directory, &plan, &played, &report);
        }
        Err(error) => report.violation(format!("{error:#}")),
    }
    let (bets, recorded) = (played.unwrap_or(0), report.recorded());
    RunSummary { seed, bets, recorded, kept, took: started.elapsed() }
}

/// Keeps the directory of a run that failed or has violations, with the plan and the violations in
/// `run.txt`; returns where it is.
fn keep_if_wrong(
    mut directory: RunDirectory,
    plan: &RunPlan,
    played: &anyhow::Result<u64>,
    report: &Report,
) -> Option<PathBuf> {
    if let Err(error) = played {
        report.violation(format!("{error:#}"));
    }
    if report.is_right() {
        return None;
    }
    directory.keep();
    let text = format!("{plan:#?}\n\n{}\n", report.recorded().violations.join("\n"));
    // The summary has the most of it.
    let _ = std::fs::write(directory.path().join("run.txt"), text);
    Some(directory.path().to_owned())
}

async fn play<E: Environment>(
    plan: &RunPlan,
    given: &E::Given,
    directory: &Path,
    report: &Report,
) -> anyhow::Result<u64> {
    let environment = Arc::new(E::start(plan, given, directory, report).await.context("start")?);
    let played = run_faults(plan, &environment).await;
    if let Err(error) = &played {
        report.violation(format!("{error:#}"));
    }
    environment.finish().await.context("take everything down")?;
    Ok(played.unwrap_or(0))
}

async fn run_faults<E: Environment>(plan: &RunPlan, environment: &Arc<E>) -> anyhow::Result<u64> {
    let lottery = environment.lottery();
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
        if let Err(error) = joined.context("follow a fault")? {
            lottery.report.violation(format!("a fault could not be caused or undone: {error:#}"));
        }
    }
    lottery.faults_over.cancel();
    lottery.lock_all(&lottery.all_servers()).await.context("see that all servers run")?;
    clients.wait_for_all().await?;
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
                if report.is_right() { E::END_TIMEOUT } else { END_TIMEOUT_AFTER_VIOLATIONS };
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
        report.effect("client gave up, and was run again");
        locked.start().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;

    #[test]
    fn the_files_of_a_run_stay_if_it_failed_or_has_a_violation() {
        let plan = RunPlan::of(7, Kind::Processes);
        for (played, violation, is_kept) in [
            (Ok(12), None, false),
            (Ok(12), Some("a row is lost"), true),
            (Err(anyhow::anyhow!("a row is lost")), None, true),
        ] {
            let (directory, report) = (RunDirectory::temporary().unwrap(), Report::default());
            let path = directory.path().to_owned();
            if let Some(violation) = violation {
                report.violation(violation);
            }
            let kept = keep_if_wrong(directory, &plan, &played, &report);
            assert_eq!((kept.is_some(), path.exists()), (is_kept, is_kept));
            if let Some(kept) = kept {
                let text = std::fs::read_to_string(kept.join("run.txt")).unwrap();
                assert!(text.starts_with("RunPlan {") && text.ends_with("\n\na row is lost\n"));
                report.assert_found("a row is lost");
                std::fs::remove_dir_all(kept).unwrap();
            }
        }
    }
}
