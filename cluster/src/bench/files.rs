//! An answer as files: JSON for programs, a plot for people.
//!
//! `QUESTION.json` is one object: `machine` and the fields of [`Answer`]. Keys are only ever added.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

use super::answer::Answer;
use super::machine::Machine;
use super::plot;
use super::stage::Stage;

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// Writes both files of `answer` to the directory of results.
///
/// # Errors
/// A file cannot be written.
pub fn write(answer: &Answer, stage: &Stage) -> anyhow::Result<()> {
    let document = Document { machine: &stage.machine, answer };
    let mut json = serde_json::to_string_pretty(&document).context("write the result as JSON")?;
    json.push('\n');
    for (extension, text) in [("json", json), ("svg", plot::svg(answer))] {
        let path = stage.out.join(format!("{}.{extension}", answer.question));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
