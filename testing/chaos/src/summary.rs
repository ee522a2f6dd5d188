//! The summary of all runs: a table for people, one JSON line for programs.

use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::report::{Counts, Recorded};
use harness::numbers::grouped;
use harness::terminal::STYLE;

/// One run.
#[derive(Debug)]
pub struct RunSummary {
    /// The seed that gives the same decisions again.
    pub seed: u64,
    /// How many bets were stored.
    pub bets: u64,
    /// What was done and found.
    pub recorded: Recorded,
    /// Where the files are, if there is a violation.
    pub kept: Option<PathBuf>,
}

/// All runs. `--json` prints it with these keys.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Whether every promise was kept, in at least one run.
    pub ok: bool,
    seed: u64,
    /// How many runs there were.
    pub runs: u64,
    bets: u64,
    faults_total: u64,
    faults: Counts,
    skipped: Counts,
    /// The runs with violations.
    pub violations: Vec<Violation>,
    /// How many runs a signal broke off: nothing is known of them.
    pub broken_off: u64,
    seconds: u64,
}

/// A run with violations.
#[derive(Debug, Serialize)]
pub struct Violation {
    seed: u64,
    directory: Option<PathBuf>,
    command: String,
    findings: Vec<String>,
}

impl Summary {
    /// Of runs from this seed on.
    #[must_use]
    pub fn from(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Counts a run; `command` repeats it.
    pub fn add(&mut self, run: RunSummary, command: String) {
        self.runs += 1;
        self.bets += run.bets;
        let Recorded { faults, skipped, violations } = run.recorded;
        self.faults_total += faults.values().sum::<u64>();
        for (all, counts) in [(&mut self.faults, faults), (&mut self.skipped, skipped)] {
            for (kind, count) in counts {
                *all.entry(kind).or_default() += count;
            }
        }
        if !violations.is_empty() {
            let (seed, directory, findings) = (run.seed, run.kept, violations);
            self.violations.push(Violation { seed, directory, command, findings });
        }
    }

    /// The summary at the end, after `took`.
    #[must_use]
    pub fn finish(mut self, took: Duration) -> Self {
        self.ok = self.violations.is_empty() && self.runs > 0 && self.broken_off == 0;
        self.seconds = took.as_secs();
        self
    }

    /// The result as a table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(STYLE).set_header(["fault", "times"]);
        for (kind, count) in &self.faults {
            table.add_row([(*kind).to_owned(), grouped(*count)]);
        }
        table.add_row(["all faults".to_owned(), grouped(self.faults_total)]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = format!("{}\n\n", table.trim_fmt());
        for (kind, runs) in &self.skipped {
            text += &format!("skipped in {runs} runs, since nothing can be mounted here: {kind}\n");
        }
        for Violation { seed, directory, command, findings } in &self.violations {
            let directory = directory.as_ref().map(|path| path.display().to_string());
            let kept = directory.unwrap_or_else(|| "nowhere".to_owned());
            text += &format!("seed {seed}, files kept in {kept}, again with\n  {command}\n");
            for finding in findings {
                text += &format!("  violation: {}\n", finding.lines().next().unwrap_or_default());
            }
        }
        let (seed, last) = (self.seed, self.seed.wrapping_add(self.runs.saturating_sub(1)));
        let (runs, bets) = (grouped(self.runs), grouped(self.bets));
        let (violated, broken_off) = (self.violations.len(), self.broken_off);
        text += &format!("seeds {seed} to {last}: {runs} runs, {bets} bets, {violated} runs with ");
        text + &format!("violations, {broken_off} runs broken off, {} s\n", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_printed_with_its_seed_and_its_files() {
        let mut summary = Summary::from(7);
        for (seed, violations) in [(7, vec![]), (8, vec!["lost\nand more".to_owned()])] {
            let recorded = Recorded {
                faults: Counts::from([("server killed", 2)]),
                skipped: Counts::from([("full disk", 1)]),
                violations,
            };
            let kept = (seed == 8).then(|| "/tmp/x".into());
            let run = RunSummary { seed, bets: 2_000, recorded, kept };
            summary.add(run, format!("chaos --seed {seed} --runs 1"));
        }
        let summary = summary.finish(Duration::from_secs(3));
        let table = summary.table();
        for wanted in [
            "skipped in 2 runs, since nothing can be mounted here: full disk\n",
            "seed 8, files kept in /tmp/x, again with\n",
            "\n  chaos --seed 8 --runs 1\n",
            "  violation: lost\n",
            "seeds 7 to 8: 2 runs, 4,000 bets, 1 runs with violations, 0 runs broken off, 3 s\n",
        ] {
            assert!(table.contains(wanted), "{wanted:?} in\n{table}");
        }
        let start = "{\"ok\":false,\"seed\":7,\"runs\":2,\"bets\":4000,\"faults_total\":4,\
                     \"faults\":{\"server killed\":4},\"skipped\":{\"full disk\":2},\
                     \"violations\":[{\"seed\":8,";
        let json = serde_json::to_string(&summary).unwrap();
        assert!(json.starts_with(start), "{json}");
        assert!(!Summary::default().finish(Duration::ZERO).ok);
    }
}
