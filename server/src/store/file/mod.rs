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
#[cfg(test)]
mod behind_tests;
mod commit;
mod commit_delay;
mod consistency;
mod error;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod file_store_tests;
mod folds;
mod look;
mod names;
mod outage;
mod pending;
mod queue;
mod record;
mod settings;
#[cfg(test)]
mod settle_tests;
#[cfg(test)]
mod tests;
mod volume;
#[cfg(test)]
mod volume_tests;
mod worker;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use journal::disk::{Disk, RealDisk};
use protocol::{AgencyId, Outcome};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use self::error::StoreError;
use self::pending::{Close, OwnedBatch, Pending, Queued, Work};
use self::queue::{QueueSender, queue};
use self::volume::Volume;
use super::{AgencyRows, AgencyStatus, Appended, Batch, Closed, Draw, Store, Unavailable, Unknown};
use crate::limits::{QUEUE_BYTES_MAX, REQUEST_BYTES_MIN, STORE_STACK_BYTES};
use crate::metrics::Metrics;

pub use archive::{ArchiveError, ArchivedDay, archive};
pub use journal::WaitEnd;
pub(crate) use names::{ARCHIVE, FILES, LOCKS};
pub use settings::{OpenError, StoreSettings};

/// The store on the files of a volume.
#[derive(Clone)]
pub struct FileStore {
    queue: Arc<QueueSender<Queued>>,
    metrics: Arc<Metrics>,
    bytes: Arc<Semaphore>,
    queue_timeout: Duration,
    wait_end: WaitEnd,
    draw: watch::Receiver<Option<Arc<Draw>>>,
}

/// The end of a store: comes when every clone of it is dropped, or with the error for which the
/// instance must end.
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

/// Why a request has no reply.
enum NoReply {
    /// It was not carried out.
    Refused(&'static str),
    /// It may have been carried out.
    Unknown,
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
            .spawn(move || ended.send(worker::run(volume, receiver)))
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

    /// Puts a request of so many bytes into the queue, and waits for its reply. Waits for room no
    /// longer than for a lock.
    async fn submit<Q, A>(
        &self,
        bytes: usize,
        request: impl FnOnce() -> Q,
        work: fn(Pending<Q, A>) -> Work,
    ) -> Result<A, NoReply> {
        let (since, _waiting) = (Instant::now(), self.metrics.queue_length.hold());
        let bytes = u32::try_from(bytes.max(REQUEST_BYTES_MIN)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes);
        let permit = timeout(self.queue_timeout, permit).await;
        let permit = permit.map_err(|_| NoReply::Refused(FULL))?;
        let permit = permit.map_err(|_| NoReply::Refused(ENDED))?;
        let (reply, replied) = oneshot::channel();
        let work = work(Pending { request: request(), reply, permit });
        self.queue.push(Queued { since, work }).map_err(|_| NoReply::Refused(ENDED))?;
        replied.await.map_err(|_| NoReply::Unknown)
    }
}

impl Store for FileStore {
    async fn append(&self, batch: &Batch<'_>) -> Result<Appended, Unknown> {
        let (bytes, request) = (batch.bets.rows_bytes_max(), || OwnedBatch::from(batch));
        self.submit(bytes, request, Work::Append).await.or_else(|error| {
            let outcome = not_done(error)?;
            Ok(Appended { outcome, stored: AgencyRows::default(), is_new: false })
        })
    }

    async fn close(&self, agency: AgencyId, rows: Option<u64>) -> Result<Closed, Unknown> {
        let close = || Close { agency, declared: rows };
        let closed = self.submit(0, close, Work::Close).await;
        closed.or_else(|error| Ok(Closed { outcome: not_done(error)?, is_new: false }))
    }

    async fn status(&self, agency: AgencyId) -> Result<AgencyStatus, Unavailable> {
        let status = self.submit(0, || agency, Work::Status).await;
        status.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    async fn look(&self) -> Result<bool, Unavailable> {
        let looked = self.submit(0, || (), Work::Look).await;
        looked.unwrap_or_else(|error| Err(unavailable(&error)))
    }

    fn draw(&self) -> watch::Receiver<Option<Arc<Draw>>> {
        self.draw.clone()
    }
}

fn not_done(error: NoReply) -> Result<Outcome, Unknown> {
    match error {
        NoReply::Refused(reason) => Ok(Outcome::TryAgain(reason.to_owned())),
        NoReply::Unknown => Err(Unknown),
    }
}

/// A question can be asked again, whatever became of it.
fn unavailable(error: &NoReply) -> Unavailable {
    match error {
        NoReply::Refused(reason) => Unavailable((*reason).to_owned()),
        NoReply::Unknown => Unavailable(ENDED.to_owned()),
    }
}
