//! The store on the files of a volume, as PROTOCOL.md describes them: a queue, and one thread that
//! does all the work on the files.
//!
//! While the thread syncs one group, the next one gathers in the queue: what waits when the thread
//! comes back shares one lock, one append and one sync. The commit is `commit::commit`.
//!
//! **Invariant**: what is in the queue is carried out, whether or not its caller still waits for
//! the reply. The queue is bounded in bytes, of which every request has a permit until it is
//! answered.

mod alerts;
mod archive;
#[cfg(test)]
mod archive_tests;
mod commit;
mod commit_delay;
mod error;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod file_store_tests;
mod folds;
mod life;
mod look;
#[cfg(test)]
mod message_tests;
mod messages;
mod names;
mod outage;
mod queue;
mod record;
mod settings;
#[cfg(test)]
mod tests;
mod volume;
#[cfg(test)]
mod volume_tests;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use journal::disk::{Disk, RealDisk};
use protocol::{AgencyId, Outcome};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use self::commit::{Close, OwnedBatch, Pending, Work};
use self::error::StoreError;
use self::queue::{QueueSender, Queued, queue};
use self::volume::Volume;
use super::{AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Store, Unavailable, Unknown};
use crate::limits::{QUEUE_BYTES_MAX, REQUEST_BYTES_MIN, STORE_STACK_BYTES};
use crate::metrics::Metrics;

pub use archive::{ArchiveError, ArchivedDay, archive};
pub use journal::WaitEnd;
pub(crate) use life::drain;
pub use messages::{FileMessages, MessageSettings, follow, notice};
pub(crate) use names::{ARCHIVE, FILES, LOCKS};
pub use settings::{OpenError, StoreSettings};

/// The store on the files of a volume.
#[derive(Clone)]
pub struct FileStore {
    queue: Arc<QueueSender<Work>>,
    metrics: Arc<Metrics>,
    bytes: Arc<Semaphore>,
    queue_timeout: Duration,
    wait_end: WaitEnd,
    draw: watch::Receiver<Option<Arc<Draw>>>,
}

/// Resolves when every clone of the store is dropped, or with the error for which the instance must
/// end.
pub struct StoreEnd(oneshot::Receiver<Result<(), StoreError>>);

impl StoreEnd {
    /// Waits for the store's end. Its files are closed and its locks given back then.
    ///
    /// # Errors
    /// What broke. What is durable is unknown then, and the requests about it were not answered.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        Ok((&mut self.0).await.context("the store's thread ended without a word")??)
    }
}

const ENDED: &str = "the server is ending";
const FULL: &str = "too many bets wait to be stored";

impl FileStore {
    /// Opens the volume on the machine's file system, and starts the store's thread.
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
        let (path, queue_timeout) = (settings.volume.clone(), settings.lock_timeout);
        let volume = Volume::open(disk, settings)?;
        let (wait_end, draw) = (volume.wait_end.clone(), volume.record.subscribe());
        let metrics = Arc::clone(&volume.metrics);
        let (sender, receiver) = queue();
        let (ended, end) = oneshot::channel();
        thread::Builder::new()
            .name("store".to_owned())
            .stack_size(STORE_STACK_BYTES)
            .spawn(move || ended.send(commit::run(volume, receiver)))
            .map_err(|error| OpenError::Unusable(path, error))?;
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let queue = Arc::new(sender);
        Ok((Self { queue, metrics, bytes, queue_timeout, wait_end, draw }, StoreEnd(end)))
    }

    /// What the instance counts; the store counts in it, too.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// When the store waits for no lock any more: for the owner of the shutdown to set.
    #[must_use]
    pub fn wait_end(&self) -> WaitEnd {
        self.wait_end.clone()
    }

    /// Puts a request of so many bytes into the queue, and waits for its reply; the inner error says
    /// why it was not carried out. Waits for room no longer than for a lock.
    async fn submit<Q, A>(
        &self,
        bytes: usize,
        request: impl FnOnce() -> Q,
        work: fn(Pending<Q, A>) -> Work,
    ) -> Result<Result<A, &'static str>, Unknown> {
        let (since, _waiting) = (Instant::now(), self.metrics.queue_length.hold());
        let bytes = u32::try_from(bytes.max(REQUEST_BYTES_MIN)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        let Ok(permit) = timeout(self.queue_timeout, permit).await else { return Ok(Err(FULL)) };
        let permit = permit.expect("it is never closed");
        let (reply, replied) = oneshot::channel();
        let work = work(Pending { request: request(), reply, permit });
        let (agency, may_wait) = (work.agency(), matches!(work, Work::Append(_)));
        match self.queue.push(Queued { since, agency, may_wait, work }) {
            Ok(()) => replied.await.map(Ok).map_err(|_| Unknown),
            Err(_) => Ok(Err(ENDED)),
        }
    }

    /// As [`FileStore::submit`], for a question, which can be asked again whatever became of it.
    async fn ask<Q, A>(
        &self,
        request: Q,
        work: fn(Pending<Q, Result<A, Unavailable>>) -> Work,
    ) -> Result<A, Unavailable> {
        let answer = self.submit(0, || request, work).await.unwrap_or(Err(ENDED));
        answer.unwrap_or_else(|reason| Err(Unavailable(reason.to_owned())))
    }
}

impl Store for FileStore {
    async fn append(&self, batch: &Batch<'_>) -> Result<Appended, Unknown> {
        let bytes = batch.bets.text().len() + batch.bets.rows_bytes_max();
        let appended = self.submit(bytes, || OwnedBatch::from(batch), Work::Append).await?;
        Ok(appended.unwrap_or_else(|reason| {
            let outcome = Outcome::TryAgain(reason.to_owned());
            Appended { outcome, stored: AgencyRows::default(), is_new: false }
        }))
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Result<Closed, Unknown> {
        let close = || Close { agency, declared: rows };
        let closed = self.submit(0, close, Work::Close).await?;
        Ok(closed.unwrap_or_else(|reason| Closed {
            outcome: Outcome::TryAgain(reason.to_owned()),
            is_new: false,
        }))
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        self.ask(agency, Work::Status).await
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        self.ask((), Work::Look).await
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.clone()
    }
}
