//! One run: the faults at their moments, calm, the agencies' ends, and the verdict.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client_seat::EndClient;
use super::plan::{Fault, RunPlan};
use super::server_seat::Command;
use super::stage::Stage;
use super::summary::RunSummary;
use super::tally::{Findings, Tally};
use super::verdict;
use crate::client_process::ClientEnd;
use crate::directory::RunDirectory;

/// How often it is looked how far the volume is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When nothing has been stored for so long, the next event comes before its moment.
const STALL: Duration = Duration::from_millis(600);

/// How long the agencies may take to end once it is calm. Hung connections cost a client some
/// seconds each, and pauses between its tries up to five.
const CALM_TIMEOUT: Duration = Duration::from_secs(100);

/// How long servers may take to come back once it is calm.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Both counts of a run.
#[derive(Debug, Clone, Default)]
pub struct Tallies {
    /// What was done.
    pub faults: Tally,
    /// What it led to.
    pub effects: Tally,
}

/// Where a run leaves what it has: its files, what is not right, and its counts.
#[derive(Debug)]
pub struct Scene<'r> {
    /// For all files of the run.
    pub directory: &'r RunDirectory,
    /// What is not right.
    pub findings: Findings,
    /// What was done.
    pub tallies: Tallies,
}

/// Holds the run of `seed`.
pub async fn hold(seed: u64, binary: &Path) -> RunSummary {
    let plan = RunPlan::of(seed);
    hold_as(seed, &plan, async |scene: &Scene<'_>| play(&plan, binary, scene).await).await
}

/// Holds the run of `seed`, which is `plan`, as `play` plays it; that gives how many bets are
/// stored. The directory of a run in which something is not right is kept.
pub async fn hold_as(
    seed: u64,
    plan: &impl Debug,
    play: impl AsyncFnOnce(&Scene<'_>) -> anyhow::Result<u64>,
) -> RunSummary {
    let started = Instant::now();
    let (findings, tallies) = (Findings::default(), Tallies::default());
    let (mut bets, mut kept) = (0, None);
    match RunDirectory::temporary() {
        Err(error) => findings.add(format!("{error:#}")),
        Ok(mut directory) => {
            let (findings, tallies) = (findings.clone(), tallies.clone());
            let scene = Scene { directory: &directory, findings, tallies };
            match play(&scene).await {
                Ok(stored) => bets = stored,
                Err(error) => scene.findings.add(format!("{error:#}")),
            }
            let findings = scene.findings.all();
            if !findings.is_empty() {
                directory.keep();
                kept = Some(keep(&directory, plan, &findings));
            }
        }
    }
    let (faults, effects) = (tallies.faults.counts(), tallies.effects.counts());
    let findings = findings.all();
    RunSummary { seed, bets, faults, effects, findings, kept, took: started.elapsed() }
}

/// Leaves word beside the files of what was planned and what was found.
fn keep(directory: &RunDirectory, plan: &impl Debug, findings: &[String]) -> PathBuf {
    let text = format!("{plan:#?}\n\n{}\n", findings.join("\n"));
    // Whoever reads the summary has the most of it.
    let _ = std::fs::write(directory.path().join("chaos.txt"), text);
    directory.path().to_owned()
}

async fn play(plan: &RunPlan, binary: &Path, scene: &Scene<'_>) -> anyhow::Result<u64> {
    let Scene { directory, findings, tallies: tally } = scene;
    let mut stage = Stage::set(plan, binary, directory, findings.clone(), tally.faults.clone())
        .await
        .context("start")?;
    let mut ends = Vec::new();
    let mut director = Director::new(&stage).context("look at the bets")?;
    let played = director.play(plan, &mut stage, &mut ends).await;
    stage.calm.cancel();
    played?;
    let ended = timeout(CALM_TIMEOUT, async {
        while let Some(joined) = stage.ends.join_next().await {
            ends.push(joined.context("follow a client")??);
        }
        anyhow::Ok(())
    });
    match ended.await {
        Ok(ended) => ended?,
        Err(_) => {
            let (left, seconds) = (stage.ends.len(), CALM_TIMEOUT.as_secs());
            findings.add(format!("{left} clients still run {seconds} s after all faults"));
            stage.ends.shutdown().await;
        }
    }
    let mut servers = take_back(&mut stage).await?;
    verdict::count_effects(&stage, &servers, &tally.effects);
    verdict::reach(&stage, &mut servers, &ends, director.draw.as_deref()).await
}

/// The servers, all of which run again.
async fn take_back(stage: &mut Stage) -> anyhow::Result<Vec<crate::server_process::ServerProcess>> {
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
    twins: u64,
    /// When what was caused last is over: calm would cut it short.
    until: Instant,
    /// The draw's record as it was first seen.
    draw: Option<Vec<u8>>,
}

impl Director {
    fn new(stage: &Stage) -> anyhow::Result<Self> {
        let mut bytes = 0;
        for agency in 1..=stage.bets.agencies() {
            bytes += stage.bets.file(agency).metadata()?.len();
        }
        // Each stored row has its agency's number and a comma before it.
        Ok(Self {
            bytes: bytes + stage.bets.lines()? * 2,
            twins: 0,
            until: Instant::now(),
            draw: None,
        })
    }

    async fn play(
        &mut self,
        plan: &RunPlan,
        stage: &mut Stage,
        ends: &mut Vec<(u32, ClientEnd)>,
    ) -> anyhow::Result<()> {
        for event in &plan.events {
            self.wait_for(event.permille, stage, ends).await?;
            self.cause(&event.fault, stage).await?;
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
            if self.draw.is_none() {
                self.draw = std::fs::read(stage.volume.draw()).ok();
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

    async fn cause(&mut self, fault: &Fault, stage: &mut Stage) -> anyhow::Result<()> {
        let command = match fault.clone() {
            Fault::KillAllServers { down } => return kill_all(stage, down).await,
            Fault::EndClient { agency, kill, down, batch } => {
                let client = stage.clients.get(agency as usize - 1);
                // One that has ended with its winners needs no more commands.
                client.map(|client| client.send(EndClient { kill, down, batch }));
                return Ok(());
            }
            Fault::Twin { agency, batch } => {
                self.twins += 1;
                return stage.start_twin(agency, batch, self.twins);
            }
            Fault::KillServer { place, down, false_starts } => {
                (place, Command::Kill { down, false_starts })
            }
            Fault::StopServer { place, down } => (place, Command::Stop { down }),
            Fault::PauseServer { place, pause, holding } => {
                (place, Command::Pause { pause, holding })
            }
        };
        let (place, command) = command;
        // A seat that is gone has failed, which is told when it is taken back.
        stage.commands.get(place).map(|server| server.send(command));
        Ok(())
    }
}

/// Kills all servers, looks at what they left, and starts them again.
async fn kill_all(stage: &Stage, down: Duration) -> anyhow::Result<()> {
    let (mut dead, mut starts) = (Vec::new(), Vec::new());
    for server in &stage.commands {
        let (is_dead, hears_dead) = oneshot::channel();
        let (start, hears_start) = oneshot::channel();
        let command = Command::KillUntil { dead: is_dead, start: hears_start };
        if server.send(command).is_ok() {
            dead.push(hears_dead);
            starts.push(start);
        }
    }
    for dead in dead {
        let _ = dead.await;
    }
    verdict::look_at_remains(stage).context("look at what killed servers left")?;
    sleep(down).await;
    drop(starts);
    Ok(())
}
