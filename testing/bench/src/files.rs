//! An outcome as files: JSON for programs, a plot for people.
//!
//! `QUESTION.json` is one object: `machine`, `effort`, and the fields of [`Outcome`], all of them
//! described in `BENCHMARKS.md`. Keys are only ever added.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

use super::machine::Machine;
use super::outcome::Outcome;
use super::plot;
use super::stage::Stage;
use super::turns::Effort;

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    effort: EffortInSeconds,
    others_processor_share: f64,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

#[derive(Serialize)]
struct EffortInSeconds {
    seconds: f64,
    rounds: u32,
}

/// Writes both files of `outcome`, which others disturbed by `others_processor_share`, to the
/// directory of results.
///
/// # Errors
/// A file cannot be written.
pub fn write(
    outcome: &Outcome,
    effort: Effort,
    others_processor_share: f64,
    stage: &Stage,
) -> anyhow::Result<()> {
    let effort = EffortInSeconds { seconds: effort.time.as_secs_f64(), rounds: effort.rounds };
    let document = Document { machine: &stage.machine, effort, others_processor_share, outcome };
    let mut json = serde_json::to_string_pretty(&document).context("write the result as JSON")?;
    json.push('\n');
    for (extension, text) in [("json", json), ("svg", plot::svg(outcome))] {
        let path = stage.out.join(format!("{}.{extension}", outcome.question));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
