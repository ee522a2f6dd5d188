//! An outcome as a file of JSON.
//!
//! `QUESTION.json` is one object: `machine`, `effort`, and the fields of [`Outcome`], all of them
//! described in `BENCHMARKS.md`. Keys are only ever added.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

use super::machine::Machine;
use super::outcome::Outcome;
use super::place::Place;
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

/// Writes the file of `outcome`, which others disturbed by `others_processor_share`, to the
/// directory of results.
///
/// # Errors
/// A file cannot be written.
pub fn write(
    outcome: &Outcome,
    effort: Effort,
    others_processor_share: f64,
    place: &Place,
) -> anyhow::Result<()> {
    let effort = EffortInSeconds { seconds: effort.time.as_secs_f64(), rounds: effort.rounds };
    let document = Document { machine: &place.machine, effort, others_processor_share, outcome };
    let mut json = serde_json::to_string_pretty(&document).context("write the result as JSON")?;
    json.push('\n');
    let path = place.out.join(format!("{}.json", outcome.question));
    fs::write(&path, json).with_context(|| format!("write {}", path.display()))
}
