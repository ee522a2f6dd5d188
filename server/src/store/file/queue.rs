//! The commit queue: requests wait in it for the store's thread, and wake that thread.
//!
//! To wake a thread takes longer than to hand a request over, and while a group waits for others
//! (`commit_delay.rs`) the thread need not look at each request that comes. So the first request
//! wakes it, and then the last one that is waited for, or the end of the delay. A thread that was
//! woken is not woken again before it has looked.
//!
//! The senders bound how many requests wait: each request claims a part of
//! [`QUEUE_BYTES_MAX`](crate::limits::QUEUE_BYTES_MAX) before.
//!
//! **Invariant**: a request that the queue took is handed to the thread, unless the thread has
//! ended.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::AgencyId;

use super::commit_delay::CommitDelay;
use crate::limits::COMMIT_DELAY_REQUESTS_MAX;

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Queued<W> {
    /// When it came.
    pub(super) since: Instant,
    /// Whose rows or close it is, if it is one.
    pub(super) agency: Option<AgencyId>,
    /// Whether it is better carried out with others than at once.
    pub(super) may_wait: bool,
    pub(super) work: W,
}

/// A queue, by its two ends.
pub(super) fn queue<W>() -> (QueueSender<W>, QueueReceiver<W>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::new()), wakes: Condvar::new() });
    (QueueSender(Arc::clone(&shared)), QueueReceiver(shared))
}

/// Where requests come in. When it is dropped, no more do.
pub(super) struct QueueSender<W>(Arc<Shared<W>>);

/// Where the thread takes them. When it is dropped, what waits is dropped, and nothing more is
/// taken.
pub(super) struct QueueReceiver<W>(Arc<Shared<W>>);

/// The thread has ended.
#[derive(Debug)]
pub(super) struct ThreadEnded;

impl<W> QueueSender<W> {
    /// Takes a request.
    pub(super) fn push(&self, request: Queued<W>) -> Result<(), ThreadEnded> {
        let mut state = self.0.lock();
        if state.is_over {
            return Err(ThreadEnded);
        }
        let wakes = state.push(request);
        drop(state);
        if wakes {
            self.0.wakes.notify_one();
        }
        Ok(())
    }
}

impl<W> Drop for QueueSender<W> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.wakes.notify_one();
    }
}

impl<W> QueueReceiver<W> {
    /// Waits for a request, and for others as long as the commit delay says; returns them all, the
    /// oldest first. `None` when no more come.
    pub(super) fn next_group(&self) -> Option<Vec<Queued<W>>> {
        let mut state = self.0.lock();
        state.begin();
        loop {
            state.is_woken = false;
            let wait = state.wait()?;
            if wait.is_zero() {
                return Some(state.take());
            }
            let slept = self.0.wakes.wait_timeout(state, wait);
            state = slept.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last group was committed: see [`CommitDelay::stored`].
    pub(super) fn stored(&self, agencies: &[AgencyId], sync_took: Duration) {
        self.0.lock().delay.stored(agencies, sync_took);
    }
}

impl<W> Drop for QueueReceiver<W> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let dropped = mem::take(&mut state.requests);
        drop(state);
        drop(dropped);
    }
}

struct Shared<W> {
    state: Mutex<State<W>>,
    wakes: Condvar,
}

impl<W> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State<W> {
    /// What waits, the oldest first.
    requests: Vec<Queued<W>>,
    /// Whether one of them may wait for others.
    one_may_wait: bool,
    delay: CommitDelay,
    /// Whether the thread carries a group out. A request that comes then was not waited for.
    is_working: bool,
    /// The end of the commit delay, once it has begun.
    delay_end: Option<Instant>,
    /// Whether the thread was woken and has not looked since.
    is_woken: bool,
    is_over: bool,
}

impl<W> State<W> {
    fn new() -> Self {
        Self {
            requests: Vec::new(),
            one_may_wait: false,
            delay: CommitDelay::default(),
            is_working: true,
            delay_end: None,
            is_woken: false,
            is_over: false,
        }
    }

    /// Adds a request; returns whether the thread is to be woken.
    fn push(&mut self, request: Queued<W>) -> bool {
        self.one_may_wait |= request.may_wait;
        if let Some(agency) = request.agency.filter(|_| !self.is_working) {
            self.delay.came(agency);
        }
        self.requests.push(request);
        // The system's timer is late by some 50 µs: a request at the end of the delay is sooner.
        let is_due = self.delay_end.is_none() || self.wait() == Some(Duration::ZERO);
        let wakes = is_due && !self.is_working && !self.is_woken;
        self.is_woken |= wakes;
        wakes
    }

    /// Begins a group, with the requests that are there.
    fn begin(&mut self) {
        self.is_working = false;
        let agencies = self.requests.iter().filter_map(|request| request.agency);
        agencies.for_each(|agency| self.delay.came(agency));
    }

    /// How long the thread waits for the rest of its group; `None` if no more requests come. The
    /// commit delay begins when this is asked first with a request to delay.
    fn wait(&mut self) -> Option<Duration> {
        if self.requests.is_empty() {
            return (!self.is_over).then_some(Duration::MAX);
        }
        let is_small = self.requests.len() < COMMIT_DELAY_REQUESTS_MAX;
        let may_wait = self.one_may_wait && is_small && !self.is_over;
        let limit = self.delay.limit().filter(|_| may_wait);
        Some(limit.map_or(Duration::ZERO, |limit| {
            let now = Instant::now();
            self.delay_end.get_or_insert(now + limit).saturating_duration_since(now)
        }))
    }

    fn take(&mut self) -> Vec<Queued<W>> {
        (self.is_working, self.one_may_wait, self.delay_end) = (true, false, None);
        mem::take(&mut self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SYNC_TOOK: Duration = Duration::from_secs(3_600);

    fn ids(agencies: &[u32]) -> Vec<AgencyId> {
        agencies.iter().filter_map(|number| AgencyId::new(*number)).collect()
    }

    /// A batch of an agency; for 0, a question.
    fn of(agency: u32) -> Queued<u32> {
        let (since, id) = (Instant::now(), AgencyId::new(agency));
        Queued { since, agency: id, may_wait: id.is_some(), work: agency }
    }

    fn numbers(group: Vec<Queued<u32>>) -> Vec<u32> {
        group.into_iter().map(|request| request.work).collect()
    }

    /// The thread has stored a group of these agencies, and begins the next one.
    fn after(stored: &[u32]) -> State<u32> {
        let mut state = State::new();
        state.delay.stored(&ids(stored), SYNC_TOOK);
        state.begin();
        state
    }

    /// The thread looks; returns whether it waits for the rest of its group.
    fn waits(state: &mut State<u32>) -> bool {
        state.is_woken = false;
        state.wait().is_some_and(|wait| !wait.is_zero())
    }

    #[test]
    fn only_the_first_and_the_last_request_of_a_group_wake_the_thread() {
        let mut state = after(&[1, 2, 3]);
        assert_eq!(state.wait(), Some(Duration::MAX), "for any request");
        assert!(state.push(of(1)), "the delay has to be started");
        assert!(!state.push(of(9)), "the thread has not looked since it was woken");
        assert!(waits(&mut state));
        assert!(!state.push(of(2)), "3 is missing");
        assert!(!state.push(of(7)), "an agency that is not waited for");
        assert!(state.push(of(3)), "the last one");
        assert!(!state.push(of(4)), "the thread has not looked since it was woken");
        assert!(!waits(&mut state));
        assert_eq!(numbers(state.take()), [1, 9, 2, 7, 3, 4]);
    }

    #[test]
    fn a_request_after_the_end_of_the_delay_wakes_the_thread() {
        let mut state = after(&[1, 2, 3]);
        state.push(of(1));
        assert!(waits(&mut state));
        assert!(!state.push(of(6)), "before the end");
        state.delay_end = Some(Instant::now());
        assert!(state.push(of(7)));
    }

    #[test]
    fn requests_that_come_while_the_thread_works_are_the_next_group() {
        let mut state = after(&[1]);
        state.push(of(1));
        assert_eq!(numbers(state.take()), [1]);
        assert!(!state.push(of(2)), "the thread is awake");
        state.delay.stored(&ids(&[1, 2]), SYNC_TOOK);
        state.begin();
        assert!(waits(&mut state), "1 comes again");
        state.push(of(1));
        assert!(!waits(&mut state));
        assert_eq!(numbers(state.take()), [2, 1]);
    }

    #[test]
    fn a_question_alone_is_not_delayed() {
        let mut state = after(&[1]);
        assert!(state.push(of(0)));
        assert!(!waits(&mut state));
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let (sender, receiver) = queue();
        let (groups, taken) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while let Some(group) = receiver.next_group() {
                receiver.stored(&ids(&[8, 9]), SYNC_TOOK);
                groups.send(numbers(group)).unwrap();
            }
        });
        for agency in 1..=3 {
            // The delay of 8 and 9, which do not come, ends by itself.
            sender.push(of(agency)).unwrap();
            assert_eq!(taken.recv_timeout(Duration::from_secs(60)), Ok(vec![agency]));
            // From when it begins a group until it sleeps, the thread has the state locked.
            while sender.0.lock().is_working {
                std::thread::yield_now();
            }
        }
        drop(sender);
        thread.join().unwrap();
    }

    #[test]
    fn requests_that_wait_when_the_sender_is_dropped_are_taken() {
        let (sender, receiver) = queue();
        sender.push(of(1)).unwrap();
        drop(sender);
        assert_eq!(receiver.next_group().map(numbers), Some(vec![1]));
        assert!(receiver.next_group().is_none());
    }

    #[test]
    fn when_the_thread_has_ended_requests_are_dropped_and_no_more_are_taken() {
        let (kept, (sender, receiver)) = (Arc::new(()), queue());
        let request = || Queued {
            since: Instant::now(),
            agency: None,
            may_wait: false,
            work: Arc::clone(&kept),
        };
        sender.push(request()).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&kept), 1);
        assert!(sender.push(request()).is_err());
    }
}
