//! Chaos: small lotteries of real processes under faults at seeded moments, and the check of
//! every promise.
//!
//! `plan` decides what happens, from the seed alone; `run` has each `fault` happen at its moment, which
//! `faults` causes, waits for the agencies' ends, and has `checks` look at what is left. All of it
//! works on an `environment`, of which there are two: `processes` of this machine, with proxies
//! between them, and `containers` of a Compose project.
//!
//! **Invariant**: the same seed takes the same decisions. What the processes do then may differ: a
//! violation may take several runs of its seed to come again.

mod answer_checker;
#[cfg(test)]
mod answer_checker_tests;
mod checks;
mod cli;
mod containers;
mod draw_watch;
mod environment;
mod fault;
mod faults;
mod network_faults;
mod plan;
mod processes;
mod registry;
mod report;
mod run;
mod summary;
mod talkers;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use program::exit::Exit;
use program::shutdown;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::ChaosOptions;
use crate::containers::ContainerEnvironment;
use crate::processes::network::names::Names;
use crate::processes::{ProcessEnvironment, mounts};
use crate::run::perform;
use crate::summary::Summary;
use harness::command;

/// Where there is no terminal, a line of progress is printed after every so many runs.
const RUNS_PER_PROGRESS_LINE: u64 = 10;

/// After so many runs with violations no more are begun: they are enough to find the defect.
const VIOLATIONS_MAX: usize = 10;

fn main() -> Exit {
    command::dispatch(&[("server", server::main), ("client", client::main)], run)
}

/// The program `chaos [OPTIONS]`; `arguments` start with the program's name.
fn run(arguments: Vec<OsString>) -> Exit {
    let options: ChaosOptions = match command::options(arguments.clone()) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    if options.containers.is_none() {
        mounts::enter(&arguments);
    }
    command::raise_descriptor_limit();
    command::run(async {
        let binary = std::env::current_exe().context("find this program's file")?;
        let summary = run_all(&options, &binary).await?;
        if options.json {
            let _ = write!(io::stderr(), "{}", summary.table());
            let json = serde_json::to_string(&summary).context("write the result as JSON")?;
            writeln!(io::stdout(), "{json}").context("write the result")?;
        } else {
            write!(io::stdout(), "{}", summary.table()).context("write the result")?;
        }
        Ok(if summary.ok { Exit::Right } else { Exit::Failed })
    })
}

/// Performs runs until there are enough, time is up, or a signal comes; then those that are in the
/// middle are broken off after a signal, and waited for otherwise.
async fn run_all(options: &ChaosOptions, binary: &Path) -> anyhow::Result<Summary> {
    let signal = shutdown::on_signal().context("listen for signals")?;
    let started = Instant::now();
    let until = options.minutes.map(|minutes| started + Duration::from_secs(minutes * 60));
    let (mut summary, mut runs) = (Summary::from(options.seed), JoinSet::new());
    let bar = progress_bar(options);
    let names = Names::take().context("make names")?;
    let mut begun = 0;
    loop {
        let is_time = until.is_none_or(|until| Instant::now() < until)
            && summary.violations.len() < VIOLATIONS_MAX;
        while is_time && begun < options.runs_max() && runs.len() < options.side_by_side() {
            let (seed, binary) = (options.seed.wrapping_add(begun), binary.to_owned());
            match options.containers.clone() {
                Some(name) => runs.spawn(perform::<ContainerEnvironment>(seed, binary, name)),
                None => runs.spawn(perform::<ProcessEnvironment>(seed, binary, names.clone())),
            };
            begun += 1;
        }
        let joined = tokio::select! {
            joined = runs.join_next() => joined,
            () = signal.cancelled() => None,
        };
        let Some(joined) = joined else {
            summary.broken_off = runs.len() as u64;
            break;
        };
        let run = joined.context("follow a run")?;
        let again = options.command_of(run.seed, binary);
        summary.add(run, again);
        let (runs, violated) = (summary.runs, summary.violations.len());
        bar.set_position(runs);
        bar.set_message(format!(", {violated} with violations"));
        if bar.is_hidden() && runs.is_multiple_of(RUNS_PER_PROGRESS_LINE) {
            let _ = writeln!(io::stderr(), "{runs} runs, {violated} with violations");
        }
    }
    bar.finish_and_clear();
    Ok(summary.finish(started.elapsed()))
}

/// A bar on a terminal, hidden elsewhere. All progress is on standard error.
fn progress_bar(options: &ChaosOptions) -> ProgressBar {
    let length = Some(options.runs_max()).filter(|runs| *runs < u64::MAX);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let form = "{spinner} {human_pos} runs in {elapsed}{msg}";
    bar.set_style(ProgressStyle::with_template(form).expect("the template is correct"));
    bar
}
