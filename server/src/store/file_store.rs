//! The store on files: a queue, and one thread that works on the volume.
//!
//! While the thread syncs one group, the next one gathers in the queue: whatever waits when the
//! thread comes back shares one lock, one append and one sync. When it waits for more is decided in
//! `gather.rs`, and how in `queue.rs`.
//!
//! **Invariant**: what is in the queue is carried out, whether or not somebody still waits for
//! the answer. The queue is bounded in bytes, of which every call claims some until it is
//! answered.

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
use super::lock::WaitEnd;
use super::log_error::LogError;
use super::opening::{OpenError, StoreSettings};
use super::queue::{Callers, Calls, Ended, Queueable, queue};
use super::volume::Volume;
use super::{AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Store, Unavailable};
use crate::limits::{CALL_BYTES_MIN, QUEUE_BYTES_MAX, SETTLE_TIMEOUT, STORE_STACK_BYTES};

/// What the store's thread is asked to do, and where the answer goes.
enum Call {
    Append(EncodedBatch, oneshot::Sender<Appended>),
    Close(AgencyId, Option<u64>, oneshot::Sender<Closed>),
    Status(AgencyId, oneshot::Sender<Result<AgencyStatus, Unavailable>>),
    Look(oneshot::Sender<Result<bool, Unavailable>>),
}

/// Where an answer goes, with the call's share of the queue's bytes, given back when it is sent.
type AnswerTo<T> = (OwnedSemaphorePermit, oneshot::Sender<T>);

/// A call in the queue.
struct Queued {
    since: Instant,
    call: Call,
    /// The call's share of the queue's bytes; given back with the answer.
    share: OwnedSemaphorePermit,
}

impl Queueable for Queued {
    fn agency(&self) -> Option<AgencyId> {
        match &self.call {
            Call::Append(EncodedBatch { agency, .. }, _) | Call::Close(agency, ..) => Some(*agency),
            Call::Status(..) | Call::Look(_) => None,
        }
    }

    fn may_wait(&self) -> bool {
        matches!(self.call, Call::Append(..))
    }
}

/// The store on the files of a volume.
#[derive(Clone)]
pub struct FileStore {
    queue: Arc<Callers<Queued>>,
    bytes: Arc<Semaphore>,
    queue_timeout: Duration,
    wait_end: WaitEnd,
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
    /// Must be called within a runtime.
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
        let wait_end = volume.wait_end();
        let (queue, calls) = queue();
        let (draws, draw) = watch::channel(volume.draw().cloned());
        let (ended, end) = oneshot::channel();
        // Bounded by the queue's bytes: each answer keeps its share until it is sent.
        let (replies, to_send) = mpsc::unbounded_channel();
        tokio::spawn(send_replies(to_send));
        let worker = Worker { volume, calls, replies, draws };
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STORE_STACK_BYTES)
            .spawn(move || ended.send(worker.run()))
            .map_err(|error: io::Error| OpenError::Unusable(path, error))?;
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let queue = Arc::new(queue);
        Ok((Self { queue, bytes, queue_timeout, wait_end, draw }, StoreEnd(end)))
    }

    /// When the store waits for no lock any more: for whoever ends the instance to set.
    #[must_use]
    pub fn wait_end(&self) -> WaitEnd {
        self.wait_end.clone()
    }

    /// Hands a call over that is no batch.
    async fn call<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<T>) -> Call,
    ) -> Result<T, &'static str> {
        let since = Instant::now();
        let share = self.share(CALL_BYTES_MIN).await?;
        self.answered(since, share, call).await
    }

    /// Hands a call over, and waits for its answer. Once it is handed over, there is none when the
    /// store breaks: then nobody knows whether it was carried out, and the instance ends.
    async fn answered<T>(
        &self,
        since: Instant,
        share: OwnedSemaphorePermit,
        call: impl FnOnce(oneshot::Sender<T>) -> Call,
    ) -> Result<T, &'static str> {
        let (answer, answered) = oneshot::channel();
        let queued = Queued { since, call: call(answer), share };
        self.queue.push(queued).map_err(|Ended| ENDED)?;
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for a share of the queue's bytes, no longer than for a lock.
    async fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, &'static str> {
        let bytes = u32::try_from(bytes).map_err(|_| FULL)?;
        let share = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        match timeout(self.queue_timeout, share).await {
            Ok(share) => share.map_err(|_| ENDED),
            Err(_) => Err(FULL),
        }
    }

    async fn append_or_why_not(&self, batch: &Batch<'_>) -> Result<Appended, &'static str> {
        let since = Instant::now();
        let share = self.share(batch.bets.rows_bytes_max().max(CALL_BYTES_MIN)).await?;
        let batch = EncodedBatch::from(batch);
        self.answered(since, share, |answer| Call::Append(batch, answer)).await
    }
}

const ENDED: &str = "the server is ending";
const FULL: &str = "too many bets wait to be stored";

impl Store for FileStore {
    async fn append(&self, batch: &Batch<'_>) -> Appended {
        self.append_or_why_not(batch).await.unwrap_or_else(|reason| Appended {
            outcome: Outcome::TryAgain(reason.to_owned()),
            stored: AgencyRows::default(),
            is_new: false,
        })
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Closed {
        let closed = self.call(|answer| Call::Close(agency, rows, answer)).await;
        closed.unwrap_or_else(|reason| Closed::unchanged(Outcome::TryAgain(reason.to_owned())))
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        let status = self.call(|answer| Call::Status(agency, answer)).await;
        status.unwrap_or_else(|reason| Err(Unavailable(reason.to_owned())))
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        let looked = self.call(Call::Look).await;
        looked.unwrap_or_else(|reason| Err(Unavailable(reason.to_owned())))
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.clone()
    }
}

/// The answers to a group's batches.
type Replies = Vec<(AnswerTo<Appended>, Appended)>;

/// Sends the answers to batches. Because this is a task of the runtime, it wakes the callers
/// without a system call for each: the store's thread wakes the runtime once a group.
async fn send_replies(mut groups: mpsc::UnboundedReceiver<Replies>) {
    while let Some(replies) = groups.recv().await {
        for ((share, answer), appended) in replies {
            drop(share);
            // A caller that waits no more is no error: the batch is stored.
            let _ = answer.send(appended);
        }
    }
}

/// The store's thread.
struct Worker<D: Disk> {
    volume: Volume<D>,
    calls: Calls<Queued>,
    replies: mpsc::UnboundedSender<Replies>,
    draws: watch::Sender<Option<Arc<Draw>>>,
}

/// What waited in the queue together, by kind.
#[derive(Default)]
struct Group {
    batches: Vec<EncodedBatch>,
    batch_answers: Vec<AnswerTo<Appended>>,
    closes: Vec<(AgencyId, Option<u64>)>,
    close_answers: Vec<AnswerTo<Closed>>,
    asked: Vec<AgencyId>,
    status_answers: Vec<AnswerTo<Result<AgencyStatus, Unavailable>>>,
    look_answers: Vec<AnswerTo<Result<bool, Unavailable>>>,
}

impl<D: Disk> Worker<D> {
    /// Works until every sender is gone, or something broke.
    fn run(mut self) -> Result<(), LogError> {
        while let Some(calls) = self.calls.next_group() {
            // The oldest call waits for no lock longer than the limit.
            let since = calls.first().map_or_else(Instant::now, |oldest| oldest.since);
            let mut group = Group::default();
            calls.into_iter().for_each(|queued| group.push(queued));
            self.serve(group, since + self.volume.settings().lock_timeout)?;
        }
        // Best left tidy, but right all the same: what is pending is mended by whoever comes next.
        alive(self.volume.settle(Instant::now() + SETTLE_TIMEOUT / 2)).map(|_| ())
    }

    /// Carries out a group, one kind of call after the other. A draw that was come upon is told
    /// before the answers, so that no client sees two days at once.
    fn serve(&mut self, group: Group, deadline: Instant) -> Result<(), LogError> {
        if !group.batches.is_empty() {
            let appended = self.volume.append(&group.batches, deadline)?;
            self.calls.stored(&newly_stored(&group.batches, &appended), self.volume.sync_took());
            self.tell_draw();
            // The task ends only with the runtime, when no caller waits any more.
            let _ = self.replies.send(group.batch_answers.into_iter().zip(appended).collect());
        }
        if !group.asked.is_empty() {
            let status = alive(self.volume.status(&group.asked, deadline))?;
            self.tell_draw();
            answer_status(group.status_answers, status);
        }
        if !group.closes.is_empty() {
            let closed = self.volume.close(&group.closes, deadline)?;
            self.tell_draw();
            for ((_share, answer), closed) in group.close_answers.into_iter().zip(closed) {
                let _ = answer.send(closed);
            }
        }
        if !group.look_answers.is_empty() {
            let looked = alive(self.volume.look(deadline))?;
            self.tell_draw();
            for (_share, answer) in group.look_answers {
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

/// Whose batches are new. What is refused, or was stored earlier, comes from whoever likes: nobody
/// who stores may wait until it comes again.
pub(super) fn newly_stored(batches: &[EncodedBatch], appended: &[Appended]) -> Vec<AgencyId> {
    let both = batches.iter().zip(appended);
    both.filter(|(_, appended)| appended.is_new).map(|(batch, _)| batch.agency).collect()
}

fn answer_status(
    answers: Vec<AnswerTo<Result<AgencyStatus, Unavailable>>>,
    status: Result<Vec<AgencyStatus>, Unavailable>,
) {
    match status {
        Ok(status) => answers.into_iter().zip(status).for_each(|((_share, answer), one)| {
            let _ = answer.send(Ok(one));
        }),
        Err(unavailable) => answers.into_iter().for_each(|(_share, answer)| {
            let _ = answer.send(Err(unavailable.clone()));
        }),
    }
}

/// Splits what ends the instance from what can be tried again.
fn alive<T>(result: Result<T, LogError>) -> Result<Result<T, Unavailable>, LogError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(broken @ LogError::Broken { .. }) => Err(broken),
        Err(error) => Ok(Err(Unavailable(error.reason()))),
    }
}

impl Group {
    fn push(&mut self, Queued { call, share, .. }: Queued) {
        match call {
            Call::Append(batch, answer) => {
                self.batches.push(batch);
                self.batch_answers.push((share, answer));
            }
            Call::Close(agency, rows, answer) => {
                self.closes.push((agency, rows));
                self.close_answers.push((share, answer));
            }
            Call::Status(agency, answer) => {
                self.asked.push(agency);
                self.status_answers.push((share, answer));
            }
            Call::Look(answer) => self.look_answers.push((share, answer)),
        }
    }
}
