//! Room for packets: who may hold bytes, how many, and who gives way when there is no more.
//!
//! A connection at rest holds next to nothing. To read more it claims a slot: an ordinary one, as
//! large as ordinary packets, or a large one for the others. There are so many of each, whatever
//! the number of connections, so what all of them hold together is bounded. Who holds a slot is
//! executing, which ends by itself, or *stalls*: it waits for its client.
//!
//! **Invariant**: clients keep nobody from a slot for long. Each claim that finds none has a
//! connection give way that has had its slot for [`STALL_GRACE`]: of those that stall the one that
//! has had it longest.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::limits::{
    LARGE_SLOT_BYTES, LARGE_SLOTS_MAX, ORDINARY_SLOT_BYTES, ORDINARY_SLOTS_MAX, STALL_GRACE,
};

/// All slots of an instance, by size. Those who need more than an ordinary packet takes do not
/// compete with those who do not.
#[derive(Debug)]
pub struct Slots {
    /// For packets as clients send them by default.
    pub ordinary: Pool,
    /// For packets of any length.
    pub large: Pool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            ordinary: Pool::new(ORDINARY_SLOTS_MAX, ORDINARY_SLOT_BYTES),
            large: Pool::new(LARGE_SLOTS_MAX, LARGE_SLOT_BYTES),
        }
    }
}

/// Slots of one size.
#[derive(Debug)]
pub struct Pool {
    bytes: usize,
    free: Arc<Semaphore>,
    holders: Arc<Holders>,
}

/// The right to hold so many bytes.
#[derive(Debug)]
pub struct Slot {
    bytes: usize,
    place: usize,
    holders: Arc<Holders>,
    _permit: OwnedSemaphorePermit,
}

/// Others need the slot: its holder must give it up at once.
#[derive(Debug, PartialEq, Eq)]
pub struct GiveWay;

/// Who has the slots of a pool.
#[derive(Debug)]
struct Holders(Mutex<Places>);

/// A place for each slot, and which of them are free: as many as the semaphore says, or more.
#[derive(Debug)]
struct Places {
    all: Vec<Option<Holder>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Holder {
    since: Instant,
    must_give_way: bool,
    /// Wakes the holder, while it stalls.
    stalled: Option<Waker>,
}

impl Pool {
    fn new(slots: usize, bytes: usize) -> Self {
        let all = (0..slots).map(|_| None).collect();
        let holders = Arc::new(Holders(Mutex::new(Places { all, free: (0..slots).collect() })));
        Self { bytes, free: Arc::new(Semaphore::new(slots)), holders }
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
        let (bytes, holders) = (self.bytes, Arc::clone(&self.holders));
        let place = holders.enter();
        Slot { bytes, place, holders, _permit: permit }
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
    /// Others need the slot: it must be given up, and the work is dropped.
    pub async fn stall<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, GiveWay> {
        poll_fn(|context| {
            if self.holders.must_give_way(self.place) {
                return Poll::Ready(Err(GiveWay));
            }
            let done = work.as_mut().poll(context);
            let stalled = done.is_pending().then(|| context.waker().clone());
            self.holders.set_stalled(self.place, stalled);
            done.map(Ok)
        })
        .await
    }
}

impl Drop for Slot {
    /// Before the permit goes back: there is a free place for whoever gets that.
    fn drop(&mut self) {
        self.holders.leave(self.place);
    }
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, for which the caller has a permit.
    fn enter(&self) -> usize {
        let holder = Holder { since: Instant::now(), must_give_way: false, stalled: None };
        let mut places = self.lock();
        let place = places.free.pop().expect("there are as many places as permits");
        if let Some(free) = places.all.get_mut(place) {
            *free = Some(holder);
        }
        place
    }

    fn leave(&self, place: usize) {
        let mut places = self.lock();
        places.free.push(place);
        if let Some(left) = places.all.get_mut(place) {
            *left = None;
        }
    }

    fn must_give_way(&self, place: usize) -> bool {
        let places = self.lock();
        places.all.get(place).and_then(Option::as_ref).is_some_and(|holder| holder.must_give_way)
    }

    fn set_stalled(&self, place: usize, stalled: Option<Waker>) {
        if let Some(Some(holder)) = self.lock().all.get_mut(place) {
            holder.stalled = stalled;
        }
    }

    /// Tells the one that has to give way next, if there is any yet, and gives it time for that.
    /// One that executes gives way when it has answered, if it holds more of what its client sent.
    async fn have_one_give_way(&self) {
        self.tell_next();
        sleep(STALL_GRACE).await;
    }

    fn tell_next(&self) {
        let mut places = self.lock();
        let holders = places.all.iter_mut().flatten();
        let due = holders.filter(|one| !one.must_give_way && one.since.elapsed() >= STALL_GRACE);
        let Some(next) = due.min_by_key(|one| (one.stalled.is_none(), one.since)) else { return };
        next.must_give_way = true;
        if let Some(waker) = next.stalled.take() {
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
        let pool = Pool::new(3, 7);
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
        let pool = Pool::new(1, 7);
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

    #[tokio::test(start_paused = true)]
    async fn as_many_give_way_as_are_waited_for() {
        const ALL: usize = 20;
        const CLAIMS: usize = 7;
        let pool = Arc::new(Pool::new(ALL, 7));
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
