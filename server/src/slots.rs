//! Room for packets: who may hold bytes, how many, and who gives way when there is no more.
//!
//! A connection at rest holds next to nothing. To read more it claims a slot: an ordinary one, as
//! large as ordinary packets, or a large one for the others. There are so many of each, whatever
//! the number of connections, so what all of them hold together is bounded. Who holds a slot is
//! executing, which ends by itself, or *stalls*: it waits for its client.
//!
//! Some slots are kept for packets that have come in whole when there is no ordinary slot left:
//! whoever has one of these must not stall. However many clients stall, packets that are whole are
//! executed.
//!
//! **Invariant**: clients keep nobody from a slot for long. Each claim that finds none has a
//! connection give way that has had its slot for [`STALL_GRACE`]: of those that stall the one that
//! has had it longest.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::limits::{
    LARGE_SLOT_BYTES, LARGE_SLOTS_MAX, ORDINARY_SLOT_BYTES, ORDINARY_SLOTS_MAX, STALL_GRACE,
    WHOLE_SLOTS_MAX,
};

/// All slots of an instance, by size. Those who need more than an ordinary packet takes do not
/// compete with those who do not.
#[derive(Debug)]
pub struct Slots {
    /// For packets as clients send them by default.
    pub ordinary: Pool,
    /// For packets of any length.
    pub large: Pool,
    /// For ordinary packets that have come in whole, when many others have not.
    pub whole: Pool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            ordinary: Pool::new(ORDINARY_SLOTS_MAX, ORDINARY_SLOT_BYTES, true),
            large: Pool::new(LARGE_SLOTS_MAX, LARGE_SLOT_BYTES, true),
            whole: Pool::new(WHOLE_SLOTS_MAX, ORDINARY_SLOT_BYTES, false),
        }
    }
}

/// Slots of one size.
#[derive(Debug)]
pub struct Pool {
    bytes: usize,
    may_stall: bool,
    free: Arc<Semaphore>,
    holders: Arc<Holders>,
}

/// The right to hold so many bytes.
#[derive(Debug)]
pub struct Slot {
    bytes: usize,
    may_stall: bool,
    entry: u64,
    holders: Arc<Holders>,
    _permit: OwnedSemaphorePermit,
}

/// Others need the slot: its holder must give it up at once.
#[derive(Debug, PartialEq, Eq)]
pub struct GiveWay;

/// Who has the slots of a pool.
#[derive(Debug, Default)]
struct Holders(Mutex<Entries>);

/// Those that were not told to give way, by when they came: whoever holds a slot and is not among
/// them any more must give way.
#[derive(Debug, Default)]
struct Entries {
    holders: BTreeMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    since: Instant,
    /// Wakes the holder, while it stalls.
    stalled: Option<Waker>,
}

impl Pool {
    pub(crate) fn new(slots: usize, bytes: usize, may_stall: bool) -> Self {
        Self { bytes, may_stall, free: Arc::new(Semaphore::new(slots)), holders: Arc::default() }
    }

    /// A slot, if there is one.
    pub fn try_claim(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.slot(permit))
    }

    /// Waits for a slot; those who came before get theirs first.
    pub async fn claim(&self) -> Slot {
        let mut acquired = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            tokio::select! {
                biased;
                permit = &mut acquired => {
                    return self.slot(permit.expect("this semaphore is never closed"));
                }
                () = self.holders.have_one_give_way() => {}
            }
        }
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        let (bytes, may_stall, holders) = (self.bytes, self.may_stall, Arc::clone(&self.holders));
        let entry = holders.enter();
        Slot { bytes, may_stall, entry, holders, _permit: permit }
    }
}

impl Slot {
    /// How many bytes its holder may have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Does `work`, which waits for the client.
    ///
    /// # Errors
    /// Others need the slot: it must be given up, and the work is dropped, or what came of it.
    pub async fn stall<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, GiveWay> {
        poll_fn(|context| {
            let done = work.as_mut().poll(context);
            if done.is_pending() && !self.may_stall {
                return Poll::Ready(Err(GiveWay));
            }
            let stalled = done.is_pending().then(|| context.waker().clone());
            match self.holders.set_stalled(self.entry, stalled) {
                Ok(()) => done.map(Ok),
                Err(told) => Poll::Ready(Err(told)),
            }
        })
        .await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.holders.leave(self.entry);
    }
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> u64 {
        let mut entries = self.lock();
        let entry = entries.next;
        entries.next += 1;
        // Under the lock, so that who comes later has the later time.
        entries.holders.insert(entry, Holder { since: Instant::now(), stalled: None });
        entry
    }

    fn leave(&self, entry: u64) {
        self.lock().holders.remove(&entry);
    }

    /// Says who is to be woken when the holder must give way, or that it must already: under one
    /// lock, so that no holder is told between its question and its sleep.
    fn set_stalled(&self, entry: u64, stalled: Option<Waker>) -> Result<(), GiveWay> {
        let mut entries = self.lock();
        entries.holders.get_mut(&entry).ok_or(GiveWay)?.stalled = stalled;
        Ok(())
    }

    /// Tells the one that has to give way next, if there is any yet, and gives it time for that.
    /// One that executes gives way when it has answered, if it holds more of what its client sent.
    async fn have_one_give_way(&self) {
        self.tell_next();
        sleep(STALL_GRACE).await;
    }

    fn tell_next(&self) {
        let mut entries = self.lock();
        let now = Instant::now();
        let mut due = entries
            .holders
            .iter()
            .take_while(|(_, one)| now.duration_since(one.since) >= STALL_GRACE)
            .peekable();
        let oldest = due.peek().map(|(entry, _)| **entry);
        let stalling = due.find(|(_, one)| one.stalled.is_some()).map(|(entry, _)| *entry);
        let told = stalling.or(oldest).and_then(|entry| entries.holders.remove(&entry));
        if let Some(waker) = told.and_then(|holder| holder.stalled) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn of_those_who_stall_the_one_that_has_its_slot_longest_gives_way_after_the_grace() {
        let pool = Pool::new(3, 7, true);
        let (executing, first) = (pool.claim().await, pool.claim().await);
        sleep(MOMENT).await;
        let second = pool.claim().await;
        let started = Instant::now();
        let early = async {
            let told = first.stall(pin!(pending::<()>())).await;
            drop(first);
            (told, started.elapsed())
        };
        let late = async { second.stall(pin!(pending::<()>())).await };
        let late = timeout(10 * STALL_GRACE, late);
        let (early, late, claimed) = tokio::join!(early, late, pool.claim());
        assert_eq!(early, (Err(GiveWay), STALL_GRACE));
        assert!(late.is_err(), "one is enough: {late:?}");
        assert_eq!(claimed.bytes(), 7);
        assert_eq!(executing.stall(pin!(ready(3))).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_executes_is_waited_for_and_then_gives_way_before_it_waits_for_its_client() {
        let pool = Pool::new(1, 7, true);
        let busy = pool.claim().await;
        sleep(STALL_GRACE).await;
        let early = timeout(100 * STALL_GRACE, pool.claim()).await;
        assert!(early.is_err(), "it executes: {early:?}");
        assert_eq!(busy.stall(pin!(ready(3))).await, Err(GiveWay));
        drop(busy);
        assert_eq!(
            pool.claim().await.stall(pin!(ready(3))).await,
            Ok(3),
            "another holder, another story"
        );
    }

    #[tokio::test]
    async fn who_must_not_stall_gives_way_at_once() {
        let slot = Pool::new(1, 7, false).claim().await;
        assert_eq!(slot.stall(pin!(ready(3))).await, Ok(3));
        assert_eq!(slot.stall(pin!(pending::<()>())).await, Err(GiveWay));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_while_it_begins_to_stall_gives_way_at_once() {
        let pool = Pool::new(1, 7, true);
        let slot = pool.claim().await;
        sleep(STALL_GRACE).await;
        let work = poll_fn(|_| {
            pool.holders.tell_next();
            Poll::<()>::Pending
        });
        let told = timeout(MOMENT, slot.stall(pin!(work))).await;
        assert_eq!(told, Ok(Err(GiveWay)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_twice_and_each_that_is_told_is_the_next_one() {
        let pool = Pool::new(4, 7, true);
        let mut slots = Vec::new();
        for _ in 0..4 {
            slots.push(pool.claim().await);
            sleep(MOMENT).await;
        }
        sleep(STALL_GRACE).await;
        let mut never = pin!(pending::<()>());
        let mut stalling = pin!(slots[2].stall(never.as_mut()));
        assert!(timeout(MOMENT, stalling.as_mut()).await.is_err());
        for told in [2, 0, 1, 3] {
            assert!(pool.holders.lock().holders.contains_key(&told));
            pool.holders.tell_next();
            assert!(!pool.holders.lock().holders.contains_key(&told));
        }
        pool.holders.tell_next();
        assert_eq!(stalling.await, Err(GiveWay));
        let late = pool.holders.enter();
        pool.holders.tell_next();
        assert_eq!(pool.holders.set_stalled(late, None), Ok(()), "it has the grace, too");
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_give_way_as_are_waited_for() {
        const ALL: usize = 20;
        const CLAIMS: usize = 7;
        let pool = Arc::new(Pool::new(ALL, 7, true));
        let mut holders = JoinSet::new();
        for _ in 0..ALL {
            let slot = pool.claim().await;
            holders.spawn(async move { slot.stall(pin!(pending::<()>())).await });
        }
        let mut claims = JoinSet::new();
        for _ in 0..CLAIMS {
            let pool = Arc::clone(&pool);
            claims.spawn(async move { pool.claim().await });
        }
        let claimed = timeout(2 * STALL_GRACE, claims.join_all()).await.unwrap();
        assert_eq!((claimed.len(), pool.free.available_permits()), (CLAIMS, 0));
        sleep(10 * STALL_GRACE).await;
        let mut gone = 0;
        while let Some(told) = holders.try_join_next() {
            assert_eq!(told.unwrap(), Err(GiveWay));
            gone += 1;
        }
        assert_eq!(gone, CLAIMS);
    }
}
