//! One run: the faults at their moments, then the agencies' ends, and the checks.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::environment::{Given, ProcessEnvironment};
use super::plan::RunPlan;
use super::{cause, checks};
use crate::common::run_context::{RunContext, run_as};
use crate::common::summary::RunSummary;
use crate::processes::network::names::Names;
use harness::client_process::ClientEnd;
use harness::server_process::ServerProcess;

/// How often it is looked how far the volume is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When nothing has been stored for so long, the next event comes before its moment.
const STALL: Duration = Duration::from_millis(600);

/// How long the agencies may take to end once the faults are over. Hung connections cost a client some
/// seconds each, and pauses between its tries up to five.
const END_TIMEOUT: Duration = Duration::from_secs(100);

/// The same in a run in which something is not right already: clients may never end then.
const END_TIMEOUT_AFTER_FINDINGS: Duration = Duration::from_secs(10);

/// How often it is looked whether it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long servers may take to come back once the faults are over.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Holds the run of `seed`.
pub async fn hold(seed: u64, binary: PathBuf, names: Option<Names>) -> RunSummary {
    let plan = RunPlan::of(seed);
    let given = Given { binary, names };
    run_as(seed, &plan, async |run: &RunContext<'_>| play(&plan, &given, run).await).await
}

async fn play(plan: &RunPlan, given: &Given, run: &RunContext<'_>) -> anyhow::Result<u64> {
    let mut environment = ProcessEnvironment::start(plan, given, run).await.context("start")?;
    let ended = run_faults(plan, &mut environment).await;
    if ended.is_err() || !run.findings.all().is_empty() {
        environment.keep_disk().context("keep the files of a small disk")?;
    }
    ended
}

async fn run_faults(plan: &RunPlan, environment: &mut ProcessEnvironment) -> anyhow::Result<u64> {
    let mut ends = Vec::new();
    let mut schedule = Schedule::new(environment).context("look at the bets")?;
    let played = schedule.play(plan, environment, &mut ends).await;
    environment.faults_over.cancel();
    played?;
    wait_for_clients(environment, &mut ends).await?;
    let mut servers = take_back(environment).await?;
    checks::count_effects(environment, &servers);
    checks::check_all(environment, &mut servers, &ends).await
}

/// Waits for all clients to end by themselves.
async fn wait_for_clients(
    environment: &mut ProcessEnvironment,
    ends: &mut Vec<(u32, ClientEnd)>,
) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let limit = if environment.findings.all().is_empty() {
            END_TIMEOUT
        } else {
            END_TIMEOUT_AFTER_FINDINGS
        };
        match timeout(ASK_EVERY, environment.ends.join_next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(joined)) => ends.push(joined.context("follow a client")??),
            Err(_) if since.elapsed() < limit => {}
            Err(_) => {
                let (left, seconds) = (environment.ends.len(), since.elapsed().as_secs());
                let finding = format!("{left} clients still run {seconds} s after all faults");
                environment.findings.add(finding);
                environment.ends.shutdown().await;
            }
        }
    }
}

/// The servers, all of which run again.
async fn take_back(environment: &mut ProcessEnvironment) -> anyhow::Result<Vec<ServerProcess>> {
    environment.commands.clear();
    let back = timeout(BACK_TIMEOUT, async {
        let mut servers = Vec::new();
        while let Some(joined) = environment.servers.join_next().await {
            let (place, server) = joined.context("follow a server")?;
            servers.push((place, server.with_context(|| format!("server-{}", place + 1))?));
        }
        servers.sort_by_key(|(place, _)| *place);
        anyhow::Ok(servers.into_iter().map(|(_, server)| server).collect())
    });
    back.await.context("wait for all servers to run again")?
}

/// Has everything happen at its moment.
struct Schedule {
    /// How long `bets.csv` will be, about.
    bytes: u64,
    /// When what was caused last is over: the end of the faults would cut it short.
    until: Instant,
}

impl Schedule {
    fn new(environment: &ProcessEnvironment) -> anyhow::Result<Self> {
        let mut bytes = 0;
        for agency in 1..=environment.bets.agencies() {
            bytes += environment.bets.file(agency).metadata()?.len();
        }
        // Each stored row has its agency's number and a comma before it.
        let bytes = bytes + environment.bets.lines()? * 2;
        Ok(Self { bytes, until: Instant::now() })
    }

    async fn play(
        &mut self,
        plan: &RunPlan,
        environment: &mut ProcessEnvironment,
        ends: &mut Vec<(u32, ClientEnd)>,
    ) -> anyhow::Result<()> {
        for event in &plan.events {
            self.wait_for(event.permille, environment, ends).await?;
            cause::cause(&event.fault, environment).await?;
            self.until = self.until.max(Instant::now() + event.fault.lasts());
        }
        sleep_until(self.until).await;
        Ok(())
    }

    /// Waits until the volume has so much, or nothing happens any more.
    async fn wait_for(
        &mut self,
        permille: u64,
        environment: &mut ProcessEnvironment,
        ends: &mut Vec<(u32, ClientEnd)>,
    ) -> anyhow::Result<()> {
        let (mut stored, mut since) = (0, Instant::now());
        loop {
            while let Some(joined) = environment.ends.try_join_next() {
                ends.push(joined.context("follow a client")??);
            }
            let now = std::fs::metadata(environment.volume.bets()).map_or(0, |file| file.len());
            if now * 1_000 >= self.bytes * permille || environment.ends.is_empty() {
                return Ok(());
            }
            if now != stored {
                (stored, since) = (now, Instant::now());
            } else if since.elapsed() > STALL {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
