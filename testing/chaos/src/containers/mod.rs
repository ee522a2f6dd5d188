//! Chaos with containers: what only they show, with a real Compose project.
//!
//! **Invariant**: nothing but the project that was named is touched.

mod container;
mod docker;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use self::container::{Container, SERVER_NAME, SERVER_PORT};
use self::docker::Docker;
use crate::checks;
use crate::environment::{Environment, Locked, Lottery, Member as _, WINNER};
use crate::fault::{Fault, Kind, Meanwhile, Target};
use crate::plan::RunPlan;
use crate::report::Report;
use harness::directory;
use harness::volume::Volume;

/// After how long a client gives up, and after how long an impatient one.
const GIVE_UP_SECONDS: u64 = 120;
const GIVE_UP_SECONDS_IMPATIENT: u64 = 10;

/// How long the draw may take to come, once a server misses it.
const DRAW_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server that receives no datagrams may take to know of the draw. A second is promised,
/// but the machine may be busy.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a container that was started without a network stays so.
const ALONE: Duration = Duration::from_secs(1);

/// How often files and logs are looked at.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// How long the observer rests between two servers: it is not to be a load.
const OBSERVER_REST: Duration = Duration::from_millis(150);

/// How long a server may take to answer the observer about all agencies: the next one may be alive.
const OBSERVER_TIMEOUT: Duration = Duration::from_secs(2);

type Logs = Vec<(String, Vec<String>)>;

/// Everything of a run that lives while it lasts.
#[derive(Debug)]
pub struct ContainerEnvironment {
    lottery: Arc<Lottery<Container>>,
    docker: Docker,
    is_impatient: bool,
    /// The logs of removed servers.
    removed: Mutex<Logs>,
    // Held: it asks until it is dropped.
    _observer: AbortOnDropHandle<()>,
}

impl Environment for ContainerEnvironment {
    type Member = Container;
    /// The name of the Compose project, whose images are there.
    type Given = String;
    const KIND: Kind = Kind::Containers;
    const STALL: Duration = Duration::from_secs(3);
    const END_TIMEOUT: Duration = Duration::from_secs(180);

    async fn start(
        plan: &RunPlan,
        project: &String,
        (binary, directory): (&Path, &Path),
        report: &Report,
    ) -> anyhow::Result<Self> {
        let volume = Volume::new(&directory::make(&directory.join("volume"))?);
        let place = (binary, directory);
        let lottery = Lottery::prepare(plan, Kind::Containers, place, volume, report).await?;
        let overrides = directory.join("compose.yaml");
        fs::write(&overrides, overrides_of(plan)).context("write what changes Compose's file")?;
        let docker = Docker::new(project, &overrides, settings_of(plan, &lottery));
        let lottery = Arc::new(lottery);
        let observer = tokio::spawn(observe(Arc::clone(&lottery)));
        let environment = Self {
            lottery,
            docker,
            is_impatient: plan.is_impatient,
            removed: Mutex::default(),
            _observer: AbortOnDropHandle::new(observer),
        };
        if let Err(error) = environment.start_all().await {
            environment.finish().await?;
            return Err(error);
        }
        Ok(environment)
    }

    fn lottery(&self) -> &Lottery<Container> {
        &self.lottery
    }

    async fn cause(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Swap { server, other } => self.swap(server, other).await,
            Fault::CutOff { target, away, meanwhile } => {
                self.cut_off(target, away, meanwhile).await
            }
            Fault::MissDraw { server } => self.miss_draw(server).await,
            Fault::Add => self.add_server().await.context("add a server"),
            Fault::Remove { server } => self.remove_server(server).await,
            other => anyhow::bail!("{other:?} is not for containers"),
        }
    }

    async fn server_logs(&self) -> anyhow::Result<Logs> {
        let mut all = self.removed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for server in self.lottery.servers() {
            let server = server.lock().await;
            let name = server.name();
            let log = server.written(&self.lottery.directory, &name).await?.log;
            all.push((name, log));
        }
        Ok(all)
    }

    /// Also puts all logs into the run's directory.
    async fn finish(&self) -> anyhow::Result<()> {
        let _ = self.server_logs().await;
        for client in self.lottery.clients() {
            let client = client.lock().await;
            let _ = client.written(&self.lottery.directory, &client.name()).await;
        }
        self.docker.compose(&["down", "--volumes", "--timeout", "8"]).await.map(drop)
    }
}

impl ContainerEnvironment {
    async fn start_all(&self) -> anyhow::Result<()> {
        self.docker.compose(&["up", "--detach", "--no-build"]).await?;
        self.find_containers(SERVER_NAME, &[]).await?;
        self.find_containers("client", &[]).await
    }

    /// Adds the containers of `service` that are not `known`.
    async fn find_containers(
        &self,
        service: &str,
        known: &[Locked<Container>],
    ) -> anyhow::Result<()> {
        for name in self.docker.names(service).await? {
            if known.iter().all(|container| container.name != name) {
                self.lottery.add(Container {
                    docker: self.docker.clone(),
                    name,
                    is_server: service == SERVER_NAME,
                    is_impatient: self.is_impatient,
                    printed_before: 0,
                    volume: self.lottery.volume.clone(),
                    report: self.lottery.report.clone(),
                });
            }
        }
        Ok(())
    }

    /// Starts one server more, as an operator does. All servers run meanwhile: Compose would start
    /// those that are down, and fails where one is paused.
    async fn add_server(&self) -> anyhow::Result<()> {
        let servers = self.lottery.lock_all(&self.lottery.all_servers()).await?;
        let scale = format!("server={}", servers.len() + 1);
        let up = ["up", "--detach", "--no-build", "--no-recreate", "--scale", &scale, SERVER_NAME];
        self.docker.compose(&up).await?;
        self.find_containers(SERVER_NAME, &servers).await?;
        self.lottery.report.fault("server added");
        Ok(())
    }

    /// Stops a server for good; its log is kept.
    async fn remove_server(&self, server: Target) -> anyhow::Result<()> {
        let Some(mut server) = self.lottery.lock(server).await? else { return Ok(()) };
        // One of those that stay may miss the draw, and another has to hold it.
        if self.lottery.servers().len() < 3 {
            return Ok(());
        }
        server.stop().await?;
        self.lottery.report.fault("server removed");
        // The next one that is added may get its name.
        let count = self.removed.lock().unwrap_or_else(PoisonError::into_inner).len();
        let name = format!("{}-removed-{}", server.name(), count + 1);
        let log = server.written(&self.lottery.directory, &name).await?.log;
        server.run(&["rm"]).await?;
        self.lottery.remove(&server);
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).push((name, log));
        Ok(())
    }

    /// Kills both, and starts the other first: Docker gives the lowest address that is free.
    async fn swap(&self, server: Target, other: Target) -> anyhow::Result<()> {
        let mut both = self.lottery.lock_all(&[server, other]).await?;
        let [server, other] = both.as_mut_slice() else { return Ok(()) };
        let before = [server.state().await?.address, other.state().await?.address];
        server.kill().await?;
        if other.kill().await? {
            other.start().await?;
        }
        server.start().await?;
        let after = [server.state().await?.address, other.state().await?.address];
        let is_taken = before[0] == after[1] || before[1] == after[0];
        self.lottery.report.fault(match (is_taken, other.is_server) {
            (true, true) => "server killed, its address taken by another server",
            (true, false) => "server killed, its address taken by a client",
            (false, _) => "two killed at once",
        });
        Ok(())
    }

    async fn cut_off(
        &self,
        target: Target,
        away: Duration,
        meanwhile: Meanwhile,
    ) -> anyhow::Result<()> {
        let Some(mut container) = self.lottery.lock(target).await? else { return Ok(()) };
        let waits = !container.is_server && container.is_waiting().await?;
        container.disconnect().await?;
        self.lottery.report.fault(match (container.is_server, waits, meanwhile) {
            (true, _, Meanwhile::Nothing) => "server cut off",
            (true, _, Meanwhile::Killed) => "server cut off, and killed meanwhile",
            (true, _, Meanwhile::Stopped) => "server cut off, and stopped by SIGTERM meanwhile",
            (false, false, Meanwhile::Nothing) => "client cut off",
            (false, true, Meanwhile::Nothing) => "client cut off while it waited for its winners",
            (false, _, Meanwhile::Killed) => "client cut off, and killed meanwhile",
            (false, _, Meanwhile::Stopped) => "client cut off, and stopped by SIGTERM meanwhile",
        });
        self.lottery.last(away).await;
        // A client that gave up is run again when it has a network.
        if meanwhile != Meanwhile::Nothing && container.state().await?.is_running {
            match meanwhile {
                Meanwhile::Killed => drop(container.kill().await?),
                _ => container.stop().await?,
            }
            container.start().await?;
            sleep(ALONE).await;
        }
        container.connect().await
    }

    async fn miss_draw(&self, server: Target) -> anyhow::Result<()> {
        let Some(server) = self.lottery.lock(server).await? else { return Ok(()) };
        let draw = self.lottery.volume.draw();
        if draw.exists() {
            return Ok(());
        }
        server.disconnect().await?;
        let begun = Instant::now();
        while !draw.exists() && begun.elapsed() < DRAW_TIMEOUT {
            sleep(POLL_EVERY).await;
        }
        if draw.exists() {
            self.lottery.report.fault("server cut off at the draw");
            self.check_known(&server).await?;
        }
        server.connect().await
    }

    /// Sees that a server knows of the draw, though no datagram reaches it.
    async fn check_known(&self, server: &Container) -> anyhow::Result<()> {
        let drawn = Instant::now();
        while !server.log_tail(20).await?.contains("action: sorteo") {
            if drawn.elapsed() > KNOWN_TIMEOUT {
                let (name, seconds) = (server.name(), KNOWN_TIMEOUT.as_secs());
                let what = format!("{name}, without a network, knew of no draw after {seconds} s");
                self.lottery.report.violation(what);
                return Ok(());
            }
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }
}

/// Asks all servers, over and over, how many rows of each agency are stored.
async fn observe(lottery: Arc<Lottery<Container>>) {
    loop {
        sleep(OBSERVER_REST).await;
        for server in lottery.servers() {
            // A server that a fault has is left out.
            let Ok(server) = server.try_lock().map(|server| server.clone()) else { continue };
            let asked = async {
                let address = server.state().await?.address.context("find its address")?;
                checks::ask(&lottery, (address, SERVER_PORT).into(), &["AgencyStatus"]).await
            };
            let _ = timeout(OBSERVER_TIMEOUT, asked).await;
            sleep(OBSERVER_REST).await;
        }
    }
}

/// The variables of docker-compose.yaml.
fn settings_of(plan: &RunPlan, lottery: &Lottery<Container>) -> BTreeMap<&'static str, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    BTreeMap::from([
        ("CLIENTS", plan.agencies.len().to_string()),
        ("SERVERS", plan.servers.to_string()),
        ("BETS_DIR", text(lottery.bets.path())),
        ("GENERATE_ROWS", "0".to_owned()),
        ("LOTTERY_WINNER_NUMBER", WINNER.to_string()),
        ("SHARED_VOLUME_DIR", text(lottery.volume.path())),
        ("SERVER_NAME", SERVER_NAME.to_owned()),
        ("SERVER_PORT", SERVER_PORT.to_string()),
        ("LOGGING_LEVEL", "INFO".to_owned()),
        ("LOG_FORMAT", "text".to_owned()),
    ])
}

/// What docker-compose.yaml has no variables for: small packets, for the run to last, and clients
/// that wait little, for it to end. Docker chooses the addresses unless the
/// environment does.
fn overrides_of(plan: &RunPlan) -> String {
    let batch = plan.agencies.first().map_or(1, |agency| agency.batch);
    let give_up = if plan.is_impatient { GIVE_UP_SECONDS_IMPATIENT } else { GIVE_UP_SECONDS };
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let network = match is_set("DOCKER_SUBNET") || is_set("DOCKET_SUBNET") {
        true => "",
        false => "networks: {lottery: {ipam: !reset null}}\n",
    };
    format!(
        "{network}services:\n  client:\n    environment:\n      CLI_BATCH_SIZE: \"{batch}\"\n      \
         CLI_GIVE_UP_AFTER: \"{give_up}\"\n      CLI_ANSWER_TIMEOUT: \"6\"\n      \
         CLI_WINNERS_PATIENCE: \"5\"\n"
    )
}
