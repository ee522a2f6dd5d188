//! One run: the faults at their moments, calm, the agencies' ends, and the verdict.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::names::Names;
use super::plan::RunPlan;
use super::stage::{Given, Stage};
use super::{cause, verdict};
use crate::trial::scene::{Scene, hold_as};
use crate::trial::summary::RunSummary;
use harness::client_process::ClientEnd;
use harness::server_process::ServerProcess;

/// How often it is looked how far the volume is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When nothing has been stored for so long, the next event comes before its moment.
const STALL: Duration = Duration::from_millis(600);

/// How long the agencies may take to end once it is calm. Hung connections cost a client some
/// seconds each, and pauses between its tries up to five.
const CALM_TIMEOUT: Duration = Duration::from_secs(100);

/// The same in a run in which something is not right already: clients may never end then.
const CALM_TIMEOUT_AFTER_FINDINGS: Duration = Duration::from_secs(10);

/// How often it is looked whether it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long servers may take to come back once it is calm.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Holds the run of `seed`.
pub async fn hold(seed: u64, binary: PathBuf, names: Option<Names>) -> RunSummary {
    let plan = RunPlan::of(seed);
    let given = Given { binary, names };
    hold_as(seed, &plan, async |scene: &Scene<'_>| play(&plan, &given, scene).await).await
}

async fn play(plan: &RunPlan, given: &Given, scene: &Scene<'_>) -> anyhow::Result<u64> {
    let mut stage = Stage::set(plan, given, scene).await.context("start")?;
    let ended = play_on(plan, &mut stage).await;
    if ended.is_err() || !scene.findings.all().is_empty() {
        stage.keep_disk().context("keep the files of a small disk")?;
    }
    ended
}

async fn play_on(plan: &RunPlan, stage: &mut Stage) -> anyhow::Result<u64> {
    let mut ends = Vec::new();
    let mut director = Director::new(stage).context("look at the bets")?;
    let played = director.play(plan, stage, &mut ends).await;
    stage.calm.cancel();
    played?;
    wait_for_clients(stage, &mut ends).await?;
    let mut servers = take_back(stage).await?;
    verdict::count_effects(stage, &servers);
    verdict::reach(stage, &mut servers, &ends).await
}

/// Waits for all clients to end by themselves.
async fn wait_for_clients(
    stage: &mut Stage,
    ends: &mut Vec<(u32, ClientEnd)>,
) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let limit = if stage.findings.all().is_empty() {
            CALM_TIMEOUT
        } else {
            CALM_TIMEOUT_AFTER_FINDINGS
        };
        match timeout(ASK_EVERY, stage.ends.join_next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(joined)) => ends.push(joined.context("follow a client")??),
            Err(_) if since.elapsed() < limit => {}
            Err(_) => {
                let (left, seconds) = (stage.ends.len(), since.elapsed().as_secs());
                let finding = format!("{left} clients still run {seconds} s after all faults");
                stage.findings.add(finding);
                stage.ends.shutdown().await;
            }
        }
    }
}

/// The servers, all of which run again.
async fn take_back(stage: &mut Stage) -> anyhow::Result<Vec<ServerProcess>> {
    stage.commands.clear();
    let back = timeout(BACK_TIMEOUT, async {
        let mut servers = Vec::new();
        while let Some(joined) = stage.servers.join_next().await {
            let (place, server) = joined.context("follow a server")?;
            servers.push((place, server.with_context(|| format!("server-{}", place + 1))?));
        }
        servers.sort_by_key(|(place, _)| *place);
        anyhow::Ok(servers.into_iter().map(|(_, server)| server).collect())
    });
    back.await.context("wait for all servers to run again")?
}

/// Has everything happen at its moment.
struct Director {
    /// How long `bets.csv` will be, about.
    bytes: u64,
    /// When what was caused last is over: calm would cut it short.
    until: Instant,
}

impl Director {
    fn new(stage: &Stage) -> anyhow::Result<Self> {
        let mut bytes = 0;
        for agency in 1..=stage.bets.agencies() {
            bytes += stage.bets.file(agency).metadata()?.len();
        }
        // Each stored row has its agency's number and a comma before it.
        let bytes = bytes + stage.bets.lines()? * 2;
        Ok(Self { bytes, until: Instant::now() })
    }

    async fn play(
        &mut self,
        plan: &RunPlan,
        stage: &mut Stage,
        ends: &mut Vec<(u32, ClientEnd)>,
    ) -> anyhow::Result<()> {
        for event in &plan.events {
            self.wait_for(event.permille, stage, ends).await?;
            cause::cause(&event.fault, stage).await?;
            self.until = self.until.max(Instant::now() + event.fault.lasts());
        }
        sleep_until(self.until).await;
        Ok(())
    }

    /// Waits until the volume has so much, or nothing happens any more.
    async fn wait_for(
        &mut self,
        permille: u64,
        stage: &mut Stage,
        ends: &mut Vec<(u32, ClientEnd)>,
    ) -> anyhow::Result<()> {
        let (mut stored, mut since) = (0, Instant::now());
        loop {
            while let Some(joined) = stage.ends.try_join_next() {
                ends.push(joined.context("follow a client")??);
            }
            let now = std::fs::metadata(stage.volume.bets()).map_or(0, |file| file.len());
            if now * 1_000 >= self.bytes * permille || stage.ends.is_empty() {
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
