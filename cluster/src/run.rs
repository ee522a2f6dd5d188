//! One whole run: bets, servers, agencies, the count, the report, and nothing left over.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use program::exit::Exit;
use program::shutdown;
use tokio::time::Instant;

use crate::agencies::{self, AgencyEnd};
use crate::cli::ClusterOptions;
use crate::progress::Progress;
use crate::report::{AgencyReport, InstanceReport, Report};
use crate::stop::{INTERRUPTED, Stop};
use crate::workspace::Workspace;
use harness::bets_dir::BetsDirectory;
use harness::cluster::Cluster;
use harness::command;
use harness::numbers::{grouped, per_second};
use harness::volume::LineCounter;
use oracle::audit::{AgencyAudit, Announced, Audit, Expected};

/// Of how many servers it is printed what they were doing, when something is not right.
const DIAGNOSES_SHOWN: usize = 3;

/// What has come of a run, right or wrong.
#[derive(Default)]
struct RunResult {
    report: Report,
    stored_before: u64,
    /// What is not right; after the first line of each, what helps to find out why.
    problems: Vec<String>,
    /// What the servers were doing, for when something is not right.
    diagnoses: Vec<String>,
}

/// Runs a lottery as `options` say, and prints what came of it.
#[must_use]
pub fn main(options: &ClusterOptions) -> Exit {
    command::raise_descriptor_limit();
    command::run(async {
        let signal = shutdown::on_signal().context("listen for signals")?;
        Ok(run(options, &Stop::when(signal, options.timeout)).await)
    })
}

async fn run(options: &ClusterOptions, stop: &Stop) -> Exit {
    let mut workspace = match Workspace::prepare(options) {
        Ok(workspace) => workspace,
        Err(error) => {
            print(&format!("error: {error:#}"));
            return Exit::Usage;
        }
    };
    let progress = Progress::new();
    let mut result = RunResult::default();
    result.report.servers = options.servers;
    if let Err(error) = hold(options, &workspace, &progress, stop, &mut result).await {
        result.problems.push(format!("{error:#}"));
    }
    progress.clear();
    match result.problems.as_slice() {
        [] => {}
        // A person who interrupts a run does not want to know what it was doing.
        [interrupted] if interrupted == INTERRUPTED => print(interrupted),
        _ => {
            workspace.directory.keep();
            print_problems(&result, &workspace);
        }
    }
    let report = result.report(&workspace);
    match show(options, &report) {
        Ok(()) if report.ok => Exit::Right,
        Ok(()) => Exit::Failed,
        Err(error) => {
            print(&format!("failed to {error:#}"));
            Exit::Failed
        }
    }
}

/// The lottery itself. What is known at its end is in `result`, also after an error.
async fn hold(
    options: &ClusterOptions,
    workspace: &Workspace,
    progress: &Progress,
    stop: &Stop,
    result: &mut RunResult,
) -> anyhow::Result<()> {
    let bets = stop.or(workspace.bets(options)).await?;
    result.report.bets = bets.lines()?;
    let mut stored = LineCounter::new(workspace.volume.bets());
    result.stored_before = stored.count().context("read bets.csv")?;
    let mut cluster = stop.or(Cluster::start(workspace.plan(options))).await?;
    progress.note(&format!(
        "{} servers, {} agencies, {} bets",
        options.servers,
        options.clients,
        grouped(result.report.bets)
    ));
    let started = Instant::now();
    let ran = tokio::select! {
        ran = agencies::run(&cluster, &bets, options.batch_size, stop.token()) => ran,
        never = progress.follow(result.report.bets, stored) => match never {},
    };
    result.report.seconds = started.elapsed();
    let stopped = cluster.stop().await;
    result.look_at_servers(&cluster, stopped.err().unwrap_or_default());
    let ends = ran?;
    stop.check()?;
    progress.note("every agency has its winners");
    result.count(options, workspace, bets, &ends).await
}

impl RunResult {
    /// What the servers did and how they ended.
    fn look_at_servers(&mut self, cluster: &Cluster, failures: Vec<anyhow::Error>) {
        self.problems.extend(failures.iter().map(|error| format!("{error:#}")));
        for server in cluster.servers() {
            let process = server.process();
            self.diagnoses.push(format!("{}:\n{}", process.name(), process.diagnosis()));
            let address = server.address().to_string();
            self.report.instances.push(InstanceReport { address, bets: server.bets_stored() });
            let is_error = |line: &String| !line.contains(" WARNING ");
            let errors = server.alarms().into_iter().filter(is_error);
            self.problems.extend(errors.map(|line| format!("{}: {line}", process.name())));
        }
    }

    /// The independent count.
    async fn count(
        &mut self,
        options: &ClusterOptions,
        workspace: &Workspace,
        bets: BetsDirectory,
        ends: &[AgencyEnd],
    ) -> anyhow::Result<()> {
        let (volume, winner_number) = (workspace.volume.clone(), options.winner_number);
        let counting = tokio::task::spawn_blocking(move || {
            Audit::of_draw(&Expected { bets: &bets, volume: &volume, winner_number })
        });
        let mut audit = counting.await.context("count")??;
        for AgencyEnd { agency, end, .. } in ends {
            let (agency, filed) = (*agency, end.filed.as_deref().unwrap_or_default());
            for (place, documents) in [("standard output", &*end.printed), ("file", filed)] {
                audit.check_announced(&Announced { agency, place, documents });
            }
        }
        self.problems.extend(audit.problems.iter().map(ToString::to_string));
        let agencies = audit.agencies.into_iter().zip(ends);
        self.report.agencies = agencies.map(|(audited, end)| agency_report(audited, end)).collect();
        let agencies = &self.report.agencies;
        self.report.bets = agencies.iter().map(|agency| agency.bets).sum();
        self.report.stored = agencies.iter().map(|agency| agency.stored).sum();
        Ok(())
    }

    fn report(self, workspace: &Workspace) -> Report {
        let Self { mut report, stored_before, problems, .. } = self;
        if report.agencies.is_empty() {
            // It has not come to the independent count: by the lines, then.
            report.stored = LineCounter::new(workspace.volume.bets()).count().unwrap_or(0);
        }
        report.ok = problems.is_empty();
        report.stored_now = report.stored.saturating_sub(stored_before);
        report.bets_per_second = per_second(report.stored_now, report.seconds);
        report.problems = problems.iter().map(|problem| first_line(problem)).collect();
        report
    }
}

fn agency_report(audited: AgencyAudit, end: &AgencyEnd) -> AgencyReport {
    AgencyReport {
        agency: audited.agency,
        bets: audited.bets,
        stored: audited.stored,
        winners: audited.winners.len(),
        documents: audited.winners,
        seconds: end.sending,
        bets_per_second: per_second(end.sent, end.sending),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The table, and the line of JSON as the very last of standard output.
fn show(options: &ClusterOptions, report: &Report) -> anyhow::Result<()> {
    let table = if report.agencies.is_empty() {
        String::new()
    } else {
        let width = comfy_table::Table::new().width();
        let verdict = if report.ok { "all of it is right" } else { "not all of it is right" };
        format!("{}\n{}{verdict}\n", report.table(width), report.spread())
    };
    if options.json {
        print(table.trim_end());
        let json = report.json().context("write the result as JSON")?;
        return writeln!(io::stdout(), "{json}").context("write the result");
    }
    write!(io::stdout(), "{table}").context("write the result")
}

/// Prints all that helps to find out why, and last, where a person sees it, what is not right.
fn print_problems(result: &RunResult, workspace: &Workspace) {
    for diagnosis in result.diagnoses.iter().take(DIAGNOSES_SHOWN) {
        print(diagnosis);
    }
    for problem in result.problems.iter().filter(|problem| problem.contains('\n')) {
        print(problem);
    }
    for problem in &result.problems {
        print(&format!("problem: {}", first_line(problem)));
    }
    let [directory, volume] =
        [workspace.directory.path(), workspace.volume.path()].map(Path::display);
    print(&format!("the files are kept in {directory}, the volume is {volume}"));
}

/// Prints to people. If standard error is gone, no person reads it.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
