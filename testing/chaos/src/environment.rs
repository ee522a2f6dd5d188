//! What the two environments of chaos have in common: a lottery, and members to which faults are
//! done.
//!
//! **Invariant**: a fault holds the lock of its member until it is undone. So no two faults meet in
//! one member, and a member that is found ended has ended by itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::answer_checker::AnswerChecker;
use crate::draw_watch::{DrawWatch, watch};
use crate::fault::{Fault, Kind, Target};
use crate::plan::RunPlan;
use crate::registry::ServerRegistry;
use crate::report::Report;
use harness::bets_dir::{BetsDirectory, Generate};
use harness::volume::Volume;
use oracle::expected::expect;

/// The number that wins in all runs.
pub const WINNER: u16 = 7574;

/// What a client announced in its last run: its agency, and by place the documents of its winners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The number of its agency.
    pub agency: u32,
    /// Where, and which documents.
    pub places: Vec<(&'static str, Vec<String>)>,
}

/// A server or a client. Each function may fail because the system or Docker does.
pub trait Member: Send + 'static {
    /// How often it is paused until it holds a lock then.
    const CATCHES_MAX: u32;
    /// `server-2`
    fn name(&self) -> String;
    /// Whether it is a server and not a client.
    fn is_server(&self) -> bool;
    /// SIGKILL, and its end. False if it is a client that had ended by itself.
    fn kill(&mut self) -> impl Future<Output = anyhow::Result<bool>> + Send;
    /// SIGTERM, and its end; it is a violation if that is not in order and in time.
    fn stop(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Starts it after its end; a server listens then.
    fn start(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Starts it, and kills it `after` that.
    fn start_and_kill(
        &mut self,
        after: Duration,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// It does nothing until it is resumed. False if it is a client that had ended by itself.
    fn pause(&mut self) -> impl Future<Output = anyhow::Result<bool>> + Send;
    /// It goes on.
    fn resume(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Whether it holds a lock of the volume, while it is paused.
    fn holds_lock(&self) -> impl Future<Output = bool> + Send;
    /// Waits for its end, without a borrow of it.
    fn until_end(&self) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;
    /// Its exit code, 128 and the signal if one ended it; `None` while it runs.
    fn exit_code(&mut self) -> impl Future<Output = anyhow::Result<Option<i32>>> + Send;
    /// Where a server is, when it is ready.
    fn address(&self) -> impl Future<Output = anyhow::Result<SocketAddr>> + Send;
    /// Whether a client that ended with this code gave up, which some of them may.
    fn gave_up(&self, code: i32) -> impl Future<Output = anyhow::Result<bool>> + Send;
    /// What a client that has ended announced; `None`, and a violation, if it is not of one agency.
    fn announcement(&self) -> impl Future<Output = anyhow::Result<Option<Announcement>>> + Send;
    /// What is known of a member with which something is wrong.
    fn failure(&self, what: &str) -> impl Future<Output = String> + Send;
}

/// A member that faults share.
pub type Shared<M> = Arc<AsyncMutex<M>>;

/// A member that one fault has.
pub type Locked<M> = OwnedMutexGuard<M>;

/// Where a run takes place.
pub trait Environment: Send + Sync + Sized + 'static {
    /// A server or client of it.
    type Member: Member;
    /// What it is given beside the program.
    type Given: Send + Sync;
    /// Which one it is.
    const KIND: Kind;
    /// When nothing has been stored for so long, the next fault comes before its moment.
    const STALL: Duration;
    /// How long agencies may take to end once the faults are undone. Connections that do not answer
    /// cost a client some seconds each, and pauses between its tries up to five.
    const END_TIMEOUT: Duration;

    /// Starts the lottery of `plan`, with this program and the directory of the run's files, which are
    /// the `place`.
    ///
    /// # Errors
    /// Something does not start; then nothing is left running.
    fn start(
        plan: &RunPlan,
        given: &Self::Given,
        place: (&Path, &Path),
        report: &Report,
    ) -> impl Future<Output = anyhow::Result<Self>> + Send;
    /// Its lottery.
    fn lottery(&self) -> &Lottery<Self::Member>;
    /// Causes a fault that only this environment has, and undoes it.
    fn cause(&self, fault: Fault) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// The logs of all servers, also of those that were removed: their names and lines.
    fn server_logs(
        &self,
    ) -> impl Future<Output = anyhow::Result<Vec<(String, Vec<String>)>>> + Send;
    /// Keeps what explains violations, and takes everything down.
    fn finish(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The lottery of a run, and the members that take part.
#[derive(Debug)]
pub struct Lottery<M> {
    /// For all files of the run.
    pub directory: PathBuf,
    /// The bets that are sent.
    pub bets: BetsDirectory,
    /// What the servers share.
    pub volume: Volume,
    /// Compares answers.
    pub checker: AnswerChecker,
    /// The addresses of the servers, and since when each of them is available.
    pub registry: ServerRegistry,
    /// What was seen of the record of the draw.
    pub draw: Arc<Mutex<DrawWatch>>,
    // Held: the task that looks at the record.
    _watching: AbortOnDropHandle<()>,
    /// From when on nothing more goes wrong.
    pub faults_over: CancellationToken,
    /// From when on all agencies have ended, so that faults are undone at once.
    pub all_ended: CancellationToken,
    /// What was done and found.
    pub report: Report,
    servers: Mutex<Vec<Shared<M>>>,
    clients: Mutex<Vec<Shared<M>>>,
    /// Locked by what locks several members, for no two to wait for each other.
    several: AsyncMutex<()>,
}

impl<M: Member> Lottery<M> {
    /// The lottery of `plan` on `volume`; its bets are made by `binary`.
    ///
    /// # Errors
    /// The bets cannot be made.
    pub async fn prepare(
        plan: &RunPlan,
        kind: Kind,
        (binary, directory): (&Path, &Path),
        volume: Volume,
        report: &Report,
    ) -> anyhow::Result<Self> {
        let agencies = plan.agencies.len() as u32;
        let generate =
            Generate { agencies, rows: plan.rows, seed: plan.seed, winner_number: WINNER };
        let bets = BetsDirectory::generate(binary, directory, generate).await?;
        let registry = ServerRegistry::default();
        let expected = expect(&bets, WINNER)?;
        let draw = DrawWatch::new(&volume, agencies, report.clone());
        let draw = Arc::new(Mutex::new(draw));
        // In containers no packet is seen, and all clients send batches of one size.
        let batch = plan.agencies.first().filter(|_| kind == Kind::Containers);
        let batch = batch.map(|agency| agency.batch);
        Ok(Self {
            directory: directory.to_owned(),
            checker: AnswerChecker::new(expected, batch, registry.clone(), report.clone()),
            _watching: AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&draw)))),
            draw,
            bets,
            volume,
            registry,
            faults_over: CancellationToken::new(),
            all_ended: CancellationToken::new(),
            report: report.clone(),
            servers: Mutex::default(),
            clients: Mutex::default(),
            several: AsyncMutex::default(),
        })
    }

    /// Adds a member that runs.
    pub fn add(&self, member: M) {
        let members = if member.is_server() { &self.servers } else { &self.clients };
        let mut members = members.lock().unwrap_or_else(PoisonError::into_inner);
        members.push(Arc::new(AsyncMutex::new(member)));
    }

    /// Takes a server out that is no more.
    pub fn remove(&self, server: &Locked<M>) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|shared| !Arc::ptr_eq(shared, OwnedMutexGuard::mutex(server)));
    }

    /// All servers that are there now.
    #[must_use]
    pub fn servers(&self) -> Vec<Shared<M>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All clients so far.
    #[must_use]
    pub fn clients(&self) -> Vec<Shared<M>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn choose(&self, target: Target) -> anyhow::Result<Shared<M>> {
        let (members, place) = match target {
            Target::Server(place) => (self.servers(), place),
            Target::Client(place) => (self.clients(), place),
        };
        members.get(place % members.len().max(1)).cloned().context("choose a member")
    }

    /// Waits until no other fault has `target`, and sees that it runs. A server that has ended by
    /// itself is a violation, and is started. `None` if there is nothing to be done: a client has
    /// ended, or a server was removed.
    ///
    /// # Errors
    /// It cannot be looked at or started.
    pub async fn lock(&self, target: Target) -> anyhow::Result<Option<Locked<M>>> {
        self.lock_member(self.choose(target)?).await
    }

    async fn lock_member(&self, member: Shared<M>) -> anyhow::Result<Option<Locked<M>>> {
        let mut locked = Arc::clone(&member).lock_owned().await;
        let is_removed =
            locked.is_server() && !self.servers().iter().any(|server| Arc::ptr_eq(server, &member));
        if is_removed {
            return Ok(None);
        }
        match locked.exit_code().await? {
            None => Ok(Some(locked)),
            Some(_) if !locked.is_server() => Ok(None),
            Some(code) => {
                let what = format!("ended by itself with exit code {code}");
                self.report.violation(locked.failure(&what).await);
                locked.start().await?;
                Ok(Some(locked))
            }
        }
    }

    /// As [`Lottery::lock`] with several members, each once; without those that are `None`.
    ///
    /// # Errors
    /// As [`Lottery::lock`].
    pub async fn lock_all(&self, targets: &[Target]) -> anyhow::Result<Vec<Locked<M>>> {
        let _several = self.several.lock().await;
        let chosen: Vec<_> = targets.iter().map(|t| self.choose(*t)).collect::<Result<_, _>>()?;
        let mut all = Vec::new();
        for (count, member) in chosen.iter().enumerate() {
            let is_first = !chosen.iter().take(count).any(|other| Arc::ptr_eq(other, member));
            if is_first {
                all.extend(self.lock_member(Arc::clone(member)).await?);
            }
        }
        Ok(all)
    }

    /// Waits as long as a fault lasts.
    pub async fn last(&self, time: Duration) {
        let _ = self.all_ended.run_until_cancelled(tokio::time::sleep(time)).await;
    }

    /// All servers as targets.
    #[must_use]
    pub fn all_servers(&self) -> Vec<Target> {
        (0..self.servers().len()).map(Target::Server).collect()
    }
}
