//! An instance's store on a volume in memory, for as long as one question takes.

use std::time::Duration;

use protocol::{AgencyId, BetNumber};
use server::store::file::{FileStore, OpenError, StoreSettings};
use server::store::{AgencyStatus, Store as _};

use super::memory_disk::{MemoryDisk, VOLUME};

/// How many agencies the lottery has.
pub const AGENCIES: u32 = 3;

/// The number that wins.
pub const WINNING_NUMBER: u16 = 7;

/// Opens the store, uses it, and waits for its end.
pub fn with_store<T>(
    disk: &MemoryDisk,
    work: impl AsyncFnOnce(&FileStore) -> T,
) -> Result<T, OpenError> {
    with_stores(disk, 1, async |stores| work(&stores[0]).await)
}

/// Opens the stores of so many instances, uses them, and waits for their ends, one by one.
pub fn with_stores<T>(
    disk: &MemoryDisk,
    count: usize,
    work: impl AsyncFnOnce(&[FileStore]) -> T,
) -> Result<T, OpenError> {
    let settings = StoreSettings {
        volume: VOLUME.into(),
        agencies_amount: AGENCIES,
        winning_number: BetNumber::new(WINNING_NUMBER).expect("it is a bet's number"),
        instance: "here".to_owned(),
        lock_timeout: Duration::from_secs(60),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let opened: Result<Vec<_>, _> =
            (0..count).map(|_| FileStore::open_on(disk.process(), settings.clone())).collect();
        let (stores, ends): (Vec<_>, Vec<_>) = opened?.into_iter().unzip();
        let done = work(&stores).await;
        for (store, mut end) in stores.into_iter().zip(ends) {
            drop(store);
            end.wait().await.expect("nothing breaks in memory");
        }
        Ok(done)
    })
}

/// Where each agency stands.
pub async fn status_of_all(store: &FileStore) -> [AgencyStatus; AGENCIES as usize] {
    let status = |number| async move {
        let agency = AgencyId::new(number).expect("it is an agency");
        store.status(agency).await.expect("memory can always be read")
    };
    // At once: the store's thread answers them together.
    tokio::join!(status(1), status(2), status(3)).into()
}

/// Where each agency stands for an instance that starts on this disk.
pub fn status_on(disk: &MemoryDisk) -> [AgencyStatus; AGENCIES as usize] {
    with_store(disk, status_of_all).expect("there is no draw that contradicts")
}
