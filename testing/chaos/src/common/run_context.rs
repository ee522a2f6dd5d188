//! One run, from its empty directory to its summary.
//!
//! **Invariant**: whatever `play` finds, and its own failure, is in the summary; the files of a
//! run with findings stay.

use std::fmt::Debug;
use std::path::PathBuf;

use tokio::time::Instant;

use super::summary::RunSummary;
use super::tally::{Findings, Tallies};
use harness::directory::RunDirectory;

/// Where a run leaves what it has: its files, what is not right, and its counts.
#[derive(Debug)]
pub struct RunContext<'r> {
    /// For all files of the run.
    pub directory: &'r RunDirectory,
    /// What is not right.
    pub findings: Findings,
    /// What was done.
    pub tallies: Tallies,
}

/// Holds the run of `seed`, which is `plan`, as `play` plays it; that gives how many bets are
/// stored. The directory of a run in which something is not right is kept.
pub async fn run_as(
    seed: u64,
    plan: &impl Debug,
    play: impl AsyncFnOnce(&RunContext<'_>) -> anyhow::Result<u64>,
) -> RunSummary {
    let started = Instant::now();
    let (findings, tallies) = (Findings::default(), Tallies::default());
    let (mut bets, mut kept) = (0, None);
    match RunDirectory::temporary() {
        Err(error) => findings.add(format!("{error:#}")),
        Ok(mut directory) => {
            let (findings, tallies) = (findings.clone(), tallies.clone());
            let run = RunContext { directory: &directory, findings, tallies };
            match play(&run).await {
                Ok(stored) => bets = stored,
                Err(error) => run.findings.add(format!("{error:#}")),
            }
            let findings = run.findings.all();
            if !findings.is_empty() {
                directory.keep();
                kept = Some(keep(&directory, plan, &findings));
            }
        }
    }
    RunSummary {
        seed,
        bets,
        faults: tallies.faults.counts(),
        effects: tallies.effects.counts(),
        skipped: tallies.skipped.counts(),
        findings: findings.all(),
        kept,
        took: started.elapsed(),
    }
}

/// Leaves word beside the files of what was planned and what was found.
fn keep(directory: &RunDirectory, plan: &impl Debug, findings: &[String]) -> PathBuf {
    let text = format!("{plan:#?}\n\n{}\n", findings.join("\n"));
    // What reads the summary has the most of it.
    let _ = std::fs::write(directory.path().join("run.txt"), text);
    directory.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_with_a_finding_or_a_failure_is_told_and_its_files_stay() {
        let right = run_as(7, &"the plan", async |_: &RunContext<'_>| Ok(12)).await;
        assert_eq!((right.seed, right.bets, right.kept), (7, 12, None));
        assert_eq!(right.findings, [""; 0]);
        let found = run_as(7, &"the plan", async |run: &RunContext<'_>| {
            run.findings.add("a row is lost");
            Ok(12)
        });
        let failed =
            run_as(7, &"the plan", async |_: &RunContext<'_>| anyhow::bail!("a row is lost"));
        for run in [found.await, failed.await] {
            assert_eq!(run.findings, ["a row is lost"]);
            let kept = run.kept.unwrap();
            let word = std::fs::read_to_string(kept.join("run.txt")).unwrap();
            assert_eq!(word, "\"the plan\"\n\na row is lost\n");
            std::fs::remove_dir_all(kept).unwrap();
        }
    }
}
