//! One whole run: bets, servers, agencies, the count, the report, and nothing left over.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use program::exit::Exit;
use program::shutdown;
use tokio::time::Instant;

use crate::agencies::{self, AgencyEnd};
use crate::cli::Options;
use crate::progress::Progress;
use crate::report::{AgencyReport, InstanceReport, Report};
use crate::stop::Stop;
use crate::workspace::Workspace;
use harness::bets_dir::BetsDirectory;
use harness::cluster::Cluster;
use harness::command;
use harness::numbers::{grouped, per_second};
use harness::volume::LineCounter;
use oracle::audit::{AgencyAudit, Announced, Audit, Expected};

/// Of how many servers it is told what they were doing, when something is not right.
const DIAGNOSES_SHOWN: usize = 3;

/// What has come of a run, right or wrong.
#[derive(Default)]
struct Outcome {
    bets: u64,
    stored_before: u64,
    seconds: Duration,
    ends: Vec<AgencyEnd>,
    audit: Option<Audit>,
    instances: Vec<InstanceReport>,
    /// What is not right; after the first line of each, what helps to find out why.
    problems: Vec<String>,
    /// What the servers were doing, for when something is not right.
    diagnoses: Vec<String>,
}

/// Runs a lottery as `options` say, and tells what came of it.
#[must_use]
pub fn main(options: &Options) -> Exit {
    command::raise_descriptor_limit();
    command::run(async {
        let signal = shutdown::on_signal().context("listen for signals")?;
        Ok(run(options, &Stop::when(signal, options.timeout)).await)
    })
}

async fn run(options: &Options, stop: &Stop) -> Exit {
    let mut workspace = match Workspace::prepare(options) {
        Ok(workspace) => workspace,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return Exit::Usage;
        }
    };
    let progress = Progress::new();
    let mut outcome = Outcome::default();
    if let Err(error) = hold(options, &workspace, &progress, stop, &mut outcome).await {
        outcome.problems.push(format!("{error:#}"));
    }
    progress.clear();
    match outcome.problems.as_slice() {
        [] => {}
        // Whoever interrupts a run does not want to know what it was doing.
        [interrupted] if stop.is_interrupted() => tell(interrupted),
        _ => {
            workspace.directory.keep();
            tell_problems(&outcome, &workspace);
        }
    }
    let report = outcome.report(options, &workspace);
    match show(options, &report) {
        Ok(()) if report.ok => Exit::Right,
        Ok(()) => Exit::Failed,
        Err(error) => {
            tell(&format!("failed to {error:#}"));
            Exit::Failed
        }
    }
}

/// The lottery itself. What is known at its end is in `outcome`, also after an error.
async fn hold(
    options: &Options,
    workspace: &Workspace,
    progress: &Progress,
    stop: &Stop,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let bets = stop.or(workspace.bets(options)).await?;
    outcome.bets = bets.lines()?;
    let mut stored = LineCounter::new(workspace.volume.bets());
    outcome.stored_before = stored.count().context("read bets.csv")?;
    let mut cluster = stop.or(Cluster::start(workspace.plan(options))).await?;
    progress.note(&format!(
        "{} servers, {} agencies, {} bets",
        options.servers,
        options.clients,
        grouped(outcome.bets)
    ));
    let started = Instant::now();
    let ran = tokio::select! {
        ran = agencies::run(&cluster, &bets, options.batch_size, stop.token()) => ran,
        never = progress.follow(outcome.bets, stored) => match never {},
    };
    outcome.seconds = started.elapsed();
    let stopped = cluster.stop().await;
    outcome.look_at_servers(&cluster, stopped.err().unwrap_or_default());
    outcome.ends = ran?;
    stop.check()?;
    progress.note("every agency has its winners");
    outcome.count(options, workspace, bets).await
}

impl Outcome {
    /// What the servers did and how they ended.
    fn look_at_servers(&mut self, cluster: &Cluster, failures: Vec<anyhow::Error>) {
        self.problems.extend(failures.iter().map(|error| format!("{error:#}")));
        for server in cluster.servers() {
            let process = server.process();
            self.diagnoses.push(format!("{}:\n{}", process.name(), process.diagnosis()));
            let address = server.address().to_string();
            self.instances.push(InstanceReport { address, bets: server.bets_stored() });
            let is_error = |line: &String| !line.contains(" WARNING ");
            let errors = server.alarms().into_iter().filter(is_error);
            self.problems.extend(errors.map(|line| format!("{}: {line}", process.name())));
        }
    }

    /// The independent count.
    async fn count(
        &mut self,
        options: &Options,
        workspace: &Workspace,
        bets: BetsDirectory,
    ) -> anyhow::Result<()> {
        let (volume, winner_number) = (workspace.volume.clone(), options.winner_number);
        let counting = tokio::task::spawn_blocking(move || {
            Audit::of_draw(&Expected { bets: &bets, volume: &volume, winner_number })
        });
        let mut audit = counting.await.context("count")??;
        for AgencyEnd { agency, end, .. } in &self.ends {
            let (agency, filed) = (*agency, end.filed.clone().unwrap_or_default());
            let place = "standard output";
            audit.check_announced(&Announced { agency, place, documents: &end.printed });
            let place = "file";
            audit.check_announced(&Announced { agency, place, documents: &filed });
        }
        self.problems.extend(audit.problems.iter().map(ToString::to_string));
        self.audit = Some(audit);
        Ok(())
    }

    fn report(&self, options: &Options, workspace: &Workspace) -> Report {
        let agencies = self.agencies();
        let counted = |count: fn(&AgencyReport) -> u64| agencies.iter().map(count).sum::<u64>();
        let (bets, stored) = if self.audit.is_some() {
            (counted(|agency| agency.bets), counted(|agency| agency.stored))
        } else {
            // It has not come to the independent count: by the lines, then.
            (self.bets, LineCounter::new(workspace.volume.bets()).count().unwrap_or(0))
        };
        let stored_now = stored.saturating_sub(self.stored_before);
        Report {
            ok: self.problems.is_empty(),
            servers: options.servers,
            bets,
            stored,
            seconds: self.seconds,
            bets_per_second: per_second(stored_now, self.seconds),
            stored_now,
            instances: self.instances.clone(),
            problems: self.problems.iter().map(|problem| first_line(problem)).collect(),
            agencies,
        }
    }

    fn agencies(&self) -> Vec<AgencyReport> {
        let audited = self.audit.iter().flat_map(|audit| &audit.agencies);
        let report = |(audited, end): (&AgencyAudit, &AgencyEnd)| AgencyReport {
            agency: audited.agency,
            bets: audited.bets,
            stored: audited.stored,
            winners: audited.winners.len(),
            documents: audited.winners.clone(),
            seconds: end.sending,
            bets_per_second: per_second(end.sent, end.sending),
        };
        audited.zip(&self.ends).map(report).collect()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The table, and the line of JSON as the very last of standard output.
fn show(options: &Options, report: &Report) -> anyhow::Result<()> {
    let table = if report.agencies.is_empty() {
        String::new()
    } else {
        let width = comfy_table::Table::new().width();
        let verdict = if report.ok { "all of it is right" } else { "not all of it is right" };
        format!("{}\n{}{verdict}\n", report.table(width), report.spread())
    };
    if options.json {
        tell(table.trim_end());
        let json = report.json().context("write the result as JSON")?;
        return writeln!(io::stdout(), "{json}").context("write the result");
    }
    write!(io::stdout(), "{table}").context("write the result")
}

/// All that helps to find out why, and last, where it is seen, what is not right.
fn tell_problems(outcome: &Outcome, workspace: &Workspace) {
    for diagnosis in outcome.diagnoses.iter().take(DIAGNOSES_SHOWN) {
        tell(diagnosis);
    }
    for problem in outcome.problems.iter().filter(|problem| problem.contains('\n')) {
        tell(problem);
    }
    for problem in &outcome.problems {
        tell(&format!("problem: {}", first_line(problem)));
    }
    let [directory, volume] = workspace.kept().map(|path| path.display());
    tell(&format!("the files are kept in {directory}, the volume is {volume}"));
}

/// To people. There is nobody to tell if standard error is gone.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
