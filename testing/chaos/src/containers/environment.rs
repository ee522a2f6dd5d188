//! Where a run in containers takes place: its Compose project, its volume and its bets.
//!
//! **Invariant**: what does something to a container holds its lock until that is undone. So no
//! two faults meet in one container, and one that is found ended has ended by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::sync::OwnedMutexGuard;

use super::container::{Container, SERVER_NAME, Written};
use super::docker::Docker;
use super::plan::{ContainerPlan, Who};
use crate::common::WINNER;
use crate::common::checks::Case;
use crate::common::tally::{Findings, Tallies};
use harness::bets_dir::{BetsDirectory, Generate};
use harness::directory;
use harness::volume::Volume;
use oracle::expected::{AgencyExpected, expect};

/// The port of all servers.
pub const SERVER_PORT: u16 = 12345;

/// After how long a client gives up, and after how long an impatient one.
const GIVE_UP_SECONDS: u64 = 120;
const GIVE_UP_SECONDS_IMPATIENT: u64 = 10;

/// A container, and whether it has been removed: known to what holds it.
#[derive(Debug)]
pub struct ManagedContainer {
    /// The container.
    pub container: Container,
    /// With what the name of its log ends.
    mark: &'static str,
    is_gone: Arc<tokio::sync::Mutex<bool>>,
}

impl ManagedContainer {
    fn new(container: Container, mark: &'static str) -> Arc<Self> {
        Arc::new(Self { container, mark, is_gone: Arc::default() })
    }

    fn log_name(&self) -> String {
        format!("{}{}", self.container.short_name(), self.mark)
    }

    /// Waits until nobody else does anything to it.
    pub async fn lock(&self) -> OwnedMutexGuard<bool> {
        Arc::clone(&self.is_gone).lock_owned().await
    }
}

/// A container to which nobody else does anything.
#[derive(Debug)]
pub struct LockedContainer {
    /// Which one.
    pub managed: Arc<ManagedContainer>,
    is_gone: OwnedMutexGuard<bool>,
}

/// Everything of a run that lives while it lasts.
#[derive(Debug)]
pub struct ContainerEnvironment {
    /// The project.
    pub docker: Docker,
    /// The bets that are sent.
    pub bets: BetsDirectory,
    /// What the servers must say of each agency.
    pub expected: Vec<AgencyExpected>,
    /// What the servers share.
    pub volume: Volume,
    /// The clients.
    pub clients: Vec<Arc<ManagedContainer>>,
    /// Whether clients give up soon.
    pub is_impatient: bool,
    /// How many bets a client sends in a packet.
    pub batch: u64,
    /// What should not have happened.
    pub findings: Findings,
    /// What was done, and what it led to.
    pub tallies: Tallies,
    servers: Mutex<Vec<Arc<ManagedContainer>>>,
    /// LockedContainer by what comes to hold several containers, for no two to wait for each other.
    several: tokio::sync::Mutex<()>,
    /// What removed servers wrote.
    removed: Mutex<Vec<(String, Written)>>,
    directory: PathBuf,
}

impl ContainerEnvironment {
    /// Makes a volume and bets in `directory`; starts nothing yet.
    ///
    /// # Errors
    /// Something cannot be made.
    pub async fn prepare(
        plan: &ContainerPlan,
        (binary, project): (&Path, &str),
        directory: &Path,
        findings: Findings,
        tallies: Tallies,
    ) -> anyhow::Result<Self> {
        let volume = Volume::new(&directory::make(&directory.join("volume"))?);
        let generate = Generate {
            agencies: plan.agencies as u32,
            rows: plan.rows,
            seed: plan.seed,
            winner_number: WINNER,
        };
        let bets = BetsDirectory::generate(binary, directory, generate).await?;
        let expected = expect(&bets, WINNER)?;
        let overrides = directory.join("compose.yaml");
        fs::write(&overrides, overrides_of(plan)).context("write what changes Compose's file")?;
        let docker = Docker::new(project, &overrides, settings_of(plan, &bets, &volume));
        Ok(Self {
            docker,
            bets,
            expected,
            volume,
            clients: Vec::new(),
            is_impatient: plan.is_impatient,
            batch: plan.batch,
            findings,
            tallies,
            servers: Mutex::default(),
            several: tokio::sync::Mutex::default(),
            removed: Mutex::default(),
            directory: directory.to_owned(),
        })
    }

    /// Starts the containers of the project, whose images are there.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.docker.compose(&["up", "--detach", "--no-build"]).await?;
        self.find_servers("").await?;
        let names = self.docker.names("client").await?;
        let clients = names.iter().map(|name| Container::new(&self.docker, name, false));
        self.clients = clients.map(|client| ManagedContainer::new(client, "")).collect();
        Ok(())
    }

    /// Removes everything of the project but its images.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn take_down(&self) -> anyhow::Result<()> {
        self.docker.compose(&["down", "--volumes", "--timeout", "8"]).await.map(drop)
    }

    /// What is to be judged at the end.
    #[must_use]
    pub fn case(&self) -> Case {
        let (bets, volume) = (self.bets.clone(), self.volume.clone());
        Case { bets, volume, findings: self.findings.clone() }
    }

    /// The servers that are there now.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<ManagedContainer>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of servers that are new; their logs' names end in `mark`.
    async fn find_servers(&self, mark: &'static str) -> anyhow::Result<()> {
        let names = self.docker.names(SERVER_NAME).await?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            let managed = ManagedContainer::new(Container::new(&self.docker, &name, true), mark);
            let known = managed.container.short_name();
            if !servers.iter().any(|server| server.container.short_name() == known) {
                servers.push(managed);
            }
        }
        Ok(())
    }

    /// Who `who` is now.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&self, who: Who) -> anyhow::Result<Arc<ManagedContainer>> {
        let (containers, place) = match who {
            Who::Server(place) => (self.servers(), place),
            Who::Client(place) => (self.clients.clone(), place),
        };
        containers.get(place % containers.len().max(1)).cloned().context("choose a container")
    }

    /// Waits until nobody else does anything to `managed`, and sees that it runs. There is nothing to
    /// hold of a client that has ended, or of a server that was removed. A server that has ended
    /// by itself is told, and started.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn lock(
        &self,
        managed: &Arc<ManagedContainer>,
    ) -> anyhow::Result<Option<LockedContainer>> {
        let (managed, is_gone) = (Arc::clone(managed), managed.lock().await);
        if *is_gone {
            return Ok(None);
        }
        let state = managed.container.state().await?;
        if !state.is_running && !managed.container.is_server() {
            return Ok(None);
        }
        if !state.is_running {
            let (name, code) = (managed.container.short_name(), state.exit_code);
            self.findings.add(format!("{name} ended by itself with exit code {code}"));
            managed.container.start().await?;
        }
        Ok(Some(LockedContainer { managed, is_gone }))
    }

    /// As [`ContainerEnvironment::lock`] with both of two.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn lock_both(
        &self,
        containers: [&Arc<ManagedContainer>; 2],
    ) -> anyhow::Result<Option<[LockedContainer; 2]>> {
        let _several = self.several.lock().await;
        let [first, second] = containers;
        let Some(first) = self.lock(first).await? else { return Ok(None) };
        Ok(self.lock(second).await?.map(|second| [first, second]))
    }

    /// Starts one server more, as an operator does.
    ///
    /// # Errors
    /// Docker failed.
    pub async fn add_server(&self) -> anyhow::Result<()> {
        let _several = self.several.lock().await;
        let servers = self.servers();
        let mut held = Vec::new();
        for server in &servers {
            // Compose starts servers that are down, and refuses to where one is paused.
            held.push(server.lock().await);
        }
        let there = held.iter().filter(|is_gone| !***is_gone).count();
        let scale = format!("server={}", there + 1);
        let up = ["up", "--detach", "--no-build", "--no-recreate", "--scale", &scale, SERVER_NAME];
        self.docker.compose(&up).await?;
        self.find_servers("-added").await
    }

    /// Removes a server that has ended; what it wrote is kept.
    ///
    /// # Errors
    /// Docker failed, or a file cannot be written.
    pub async fn remove(&self, mut held: LockedContainer) -> anyhow::Result<()> {
        let container = &held.managed.container;
        // The next one that is added may get its name.
        let count = self.removed.lock().unwrap_or_else(PoisonError::into_inner).len();
        let name = format!("{}-removed-{}", held.managed.log_name(), count + 1);
        let written = container.written(&self.directory, &name).await?;
        container.remove().await?;
        *held.is_gone = true;
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).push((name, written));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|server| !Arc::ptr_eq(server, &held.managed));
        Ok(())
    }

    /// What all servers wrote, also those that are no more; it is put into the run's directory.
    ///
    /// # Errors
    /// Docker failed, or a file cannot be written.
    pub async fn written_by_servers(&self) -> anyhow::Result<Vec<(String, Written)>> {
        let mut all = self.removed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for server in self.servers() {
            let name = server.log_name();
            let written = server.container.written(&self.directory, &name).await?;
            all.push((name, written));
        }
        Ok(all)
    }

    /// What all clients wrote; it is put into the run's directory.
    ///
    /// # Errors
    /// Docker failed, or a file cannot be written.
    pub async fn written_by_clients(&self) -> anyhow::Result<Vec<(String, Written)>> {
        let mut all = Vec::new();
        for client in &self.clients {
            let name = client.log_name();
            let written = client.container.written(&self.directory, &name).await?;
            all.push((name, written));
        }
        Ok(all)
    }
}

/// The variables of docker-compose.yaml.
fn settings_of(
    plan: &ContainerPlan,
    bets: &BetsDirectory,
    volume: &Volume,
) -> BTreeMap<&'static str, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    BTreeMap::from([
        ("CLIENTS", plan.agencies.to_string()),
        ("SERVERS", plan.servers.to_string()),
        ("BETS_DIR", text(bets.path())),
        ("GENERATE_ROWS", "0".to_owned()),
        ("LOTTERY_WINNER_NUMBER", WINNER.to_string()),
        ("SHARED_VOLUME_DIR", text(volume.path())),
        ("SERVER_NAME", SERVER_NAME.to_owned()),
        ("SERVER_PORT", SERVER_PORT.to_string()),
        ("LOGGING_LEVEL", "INFO".to_owned()),
        ("LOG_FORMAT", "text".to_owned()),
    ])
}

/// What docker-compose.yaml has no variables for: small packets, for the run to last, and clients
/// that wait little, for it to end. Where nobody chose addresses, Docker does.
fn overrides_of(plan: &ContainerPlan) -> String {
    let batch = plan.batch;
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
