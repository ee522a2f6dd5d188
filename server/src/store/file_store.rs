//! The store on files: a queue, and one thread that works on the volume.
//!
//! While the thread syncs one group, the next one gathers in the queue: whatever waits when the
//! thread comes back shares one lock, one append and one sync.
//!
//! **Invariant**: what is in the queue is carried out, whether or not somebody still waits for
//! the answer. The queue is bounded, in calls and in bytes.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use protocol::{AgencyId, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::batch::EncodedBatch;
use super::disk::{Disk, RealDisk};
use super::log::LogError;
use super::opening::{OpenError, StoreSettings};
use super::volume::{Volume, reason};
use super::{AgencyRows, AgencyStatus, Appended, Batch, Draw, Store, Unavailable};
use crate::limits::{
    GROUP_CALLS_MAX, QUEUE_BYTES_MAX, QUEUE_CALLS_MAX, SETTLE_TIMEOUT, STORE_STACK_BYTES,
};

/// A call to the store's thread: what to do, and where the answer goes.
enum Call {
    Append {
        batch: EncodedBatch,
        /// The batch's share of the queue's bytes; given back with the answer.
        share: OwnedSemaphorePermit,
        answer: oneshot::Sender<Appended>,
    },
    Close(AgencyId, Option<u64>, oneshot::Sender<Outcome>),
    Status(AgencyId, oneshot::Sender<Result<AgencyStatus, Unavailable>>),
    Look(oneshot::Sender<Result<bool, Unavailable>>),
}

/// The store on the files of a volume.
#[derive(Clone)]
pub struct FileStore {
    calls: mpsc::Sender<(Instant, Call)>,
    bytes: Arc<Semaphore>,
    queue_timeout: Duration,
    draw: watch::Receiver<Option<Arc<Draw>>>,
}

/// The end of a store: comes when every clone of it is gone, or with the error for which the
/// instance must end.
pub struct StoreEnd(oneshot::Receiver<Result<(), LogError>>);

impl StoreEnd {
    /// Waits for the store's end. Its files are closed and its locks given back then.
    ///
    /// # Errors
    /// What broke. What is durable is not known then, and nothing was answered about it.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        Ok((&mut self.0).await.context("the store's thread ended without a word")??)
    }
}

impl FileStore {
    /// Opens the volume on the machine's file system, reads it, and starts the store's thread.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: StoreSettings) -> Result<(Self, StoreEnd), OpenError> {
        Self::open_on(RealDisk::new(), settings)
    }

    /// As [`FileStore::open`], on any file system.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        disk: impl Disk,
        settings: StoreSettings,
    ) -> Result<(Self, StoreEnd), OpenError> {
        let path = settings.volume.clone();
        let queue_timeout = settings.lock_timeout;
        let volume = Volume::open(disk, settings)?;
        let (calls, queue) = mpsc::channel(QUEUE_CALLS_MAX);
        let (draws, draw) = watch::channel(volume.draw().cloned());
        let (ended, end) = oneshot::channel();
        let worker = Worker { volume, queue, draws };
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STORE_STACK_BYTES)
            .spawn(move || ended.send(worker.run()))
            .map_err(|error: io::Error| OpenError::Unusable(path, error))?;
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok((Self { calls, bytes, queue_timeout, draw }, StoreEnd(end)))
    }

    /// Hands a call over; the answer is an error when the store has ended.
    async fn call<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        self.call_since(Instant::now(), call).await
    }

    async fn call_since<T>(
        &self,
        since: Instant,
        call: impl FnOnce(oneshot::Sender<T>) -> Call,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.calls.send((since, call(answer))).await.ok()?;
        answered.await.ok()
    }

    /// Waits for the batch's share of the queue's bytes, no longer than for a lock.
    async fn share(&self, batch: &Batch<'_>) -> Result<OwnedSemaphorePermit, &'static str> {
        let bytes = u32::try_from(batch.bets.rows_bytes_max()).map_err(|_| FULL)?;
        let share = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        match timeout(self.queue_timeout, share).await {
            Ok(share) => share.map_err(|_| ENDED),
            Err(_) => Err(FULL),
        }
    }
}

const ENDED: &str = "the server is ending";
const FULL: &str = "too many bets wait to be stored";

impl Store for FileStore {
    async fn append(&self, batch: &Batch<'_>) -> Appended {
        let since = Instant::now();
        let not_now = |reason: &str| Appended {
            outcome: Outcome::TryAgain(reason.to_owned()),
            stored: AgencyRows::default(),
        };
        let share = match self.share(batch).await {
            Ok(share) => share,
            Err(reason) => return not_now(reason),
        };
        let batch = EncodedBatch::from(batch);
        let appended = self.call_since(since, |answer| Call::Append { batch, share, answer }).await;
        appended.unwrap_or_else(|| not_now(ENDED))
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Outcome {
        let closed = self.call(|answer| Call::Close(agency, rows, answer)).await;
        closed.unwrap_or_else(|| Outcome::TryAgain(ENDED.to_owned()))
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        let status = self.call(|answer| Call::Status(agency, answer)).await;
        status.unwrap_or_else(|| Err(Unavailable(ENDED.to_owned())))
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        self.call(Call::Look).await.unwrap_or_else(|| Err(Unavailable(ENDED.to_owned())))
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.clone()
    }
}

/// The store's thread.
struct Worker<D: Disk> {
    volume: Volume<D>,
    queue: mpsc::Receiver<(Instant, Call)>,
    draws: watch::Sender<Option<Arc<Draw>>>,
}

/// What waited in the queue together, by kind.
#[derive(Default)]
struct Group {
    batches: Vec<EncodedBatch>,
    batch_answers: Vec<(OwnedSemaphorePermit, oneshot::Sender<Appended>)>,
    closes: Vec<(AgencyId, Option<u64>)>,
    close_answers: Vec<oneshot::Sender<Outcome>>,
    asked: Vec<AgencyId>,
    status_answers: Vec<oneshot::Sender<Result<AgencyStatus, Unavailable>>>,
    look_answers: Vec<oneshot::Sender<Result<bool, Unavailable>>>,
}

impl<D: Disk> Worker<D> {
    /// Works until every sender is gone, or something broke.
    fn run(mut self) -> Result<(), LogError> {
        let mut calls = Vec::with_capacity(GROUP_CALLS_MAX);
        while self.queue.blocking_recv_many(&mut calls, GROUP_CALLS_MAX) > 0 {
            // The oldest call waits for no lock longer than the limit.
            let oldest = calls.first().map_or_else(Instant::now, |(since, _)| *since);
            let deadline = oldest + self.volume.settings().lock_timeout;
            let mut group = Group::default();
            calls.drain(..).for_each(|(_, call)| group.push(call));
            self.serve(group, deadline)?;
        }
        // Best left tidy, but right all the same: what is pending is mended by whoever comes next.
        alive(self.volume.settle(Instant::now() + SETTLE_TIMEOUT / 2)).map(|_| ())
    }

    /// Carries out a group, one kind of call after the other. A draw that was come upon is told
    /// before the answers, so that no client sees two days at once.
    fn serve(&mut self, group: Group, deadline: Instant) -> Result<(), LogError> {
        if !group.batches.is_empty() {
            let appended = self.volume.append(&group.batches, deadline)?;
            self.tell_draw();
            for ((share, answer), appended) in group.batch_answers.into_iter().zip(appended) {
                drop(share);
                // That nobody waits any more is no error: the batch is stored.
                let _ = answer.send(appended);
            }
        }
        if !group.asked.is_empty() {
            let status = alive(self.volume.status(&group.asked, deadline))?;
            self.tell_draw();
            answer_status(group.status_answers, status);
        }
        if !group.closes.is_empty() {
            let outcomes = self.volume.close(&group.closes, deadline)?;
            self.tell_draw();
            for (answer, outcome) in group.close_answers.into_iter().zip(outcomes) {
                let _ = answer.send(outcome);
            }
        }
        if !group.look_answers.is_empty() {
            let looked = alive(self.volume.look(deadline))?;
            self.tell_draw();
            for answer in group.look_answers {
                let _ = answer.send(looked.clone());
            }
        }
        Ok(())
    }

    /// Tells everybody who waits about a draw, or that a new day has started.
    fn tell_draw(&self) {
        let known = self.volume.draw();
        self.draws.send_if_modified(|told| {
            let same = match (&*told, known) {
                (Some(told), Some(known)) => Arc::ptr_eq(told, known),
                (None, None) => true,
                _ => false,
            };
            if !same {
                *told = known.cloned();
            }
            !same
        });
    }
}

fn answer_status(
    answers: Vec<oneshot::Sender<Result<AgencyStatus, Unavailable>>>,
    status: Result<Vec<AgencyStatus>, Unavailable>,
) {
    match status {
        Ok(status) => answers.into_iter().zip(status).for_each(|(answer, one)| {
            let _ = answer.send(Ok(one));
        }),
        Err(unavailable) => answers.into_iter().for_each(|answer| {
            let _ = answer.send(Err(unavailable.clone()));
        }),
    }
}

/// Splits what ends the instance from what can be tried again.
fn alive<T>(result: Result<T, LogError>) -> Result<Result<T, Unavailable>, LogError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(broken @ LogError::Broken { .. }) => Err(broken),
        Err(error) => Ok(Err(Unavailable(reason(&error)))),
    }
}

impl Group {
    fn push(&mut self, call: Call) {
        match call {
            Call::Append { batch, share, answer } => {
                self.batches.push(batch);
                self.batch_answers.push((share, answer));
            }
            Call::Close(agency, rows, answer) => {
                self.closes.push((agency, rows));
                self.close_answers.push(answer);
            }
            Call::Status(agency, answer) => {
                self.asked.push(agency);
                self.status_answers.push(answer);
            }
            Call::Look(answer) => self.look_answers.push(answer),
        }
    }
}
