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
use crate::limits::QUEUE_REQUESTS_MAX;

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
            state = match state.look() {
                Needs::Over => return None,
                Needs::Ready => return Some(state.take()),
                Needs::Any => self.0.sleep(state, Duration::MAX),
                Needs::Others(limit) => match state.left(limit) {
                    Duration::ZERO => return Some(state.take()),
                    left => self.0.sleep(state, left),
                },
            };
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

    fn sleep<'s>(
        &self,
        state: MutexGuard<'s, State<W>>,
        most: Duration,
    ) -> MutexGuard<'s, State<W>> {
        self.wakes.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct State<W> {
    /// What waits, the oldest first.
    requests: Vec<Queued<W>>,
    /// Whether one of them may wait for others.
    one_may_wait: bool,
    delay: CommitDelay,
    activity: Activity,
    /// Whether the thread was woken and has not looked since.
    is_woken: bool,
    is_over: bool,
}

/// What the thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// It carries a group out. A request that comes now was not waited for.
    Works,
    /// It waits for any request.
    Waits,
    /// It waits for others until then.
    WaitsUntil(Instant),
}

/// What the next group needs.
#[derive(Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: it is there.
    Ready,
    /// Any request.
    Any,
    /// All agencies that are likely to come, if they come within this.
    Others(Duration),
    /// It never comes.
    Over,
}

impl<W> State<W> {
    fn new() -> Self {
        let (requests, delay, activity) = (Vec::new(), CommitDelay::default(), Activity::Works);
        Self { requests, one_may_wait: false, delay, activity, is_woken: false, is_over: false }
    }

    /// Adds a request; returns whether the thread is to be woken.
    fn push(&mut self, request: Queued<W>) -> bool {
        self.one_may_wait |= request.may_wait;
        if self.activity != Activity::Works
            && let Some(agency) = request.agency
        {
            self.delay.came(agency);
        }
        self.requests.push(request);
        let is_worth_it = match self.activity {
            Activity::Works => false,
            Activity::Waits => true,
            // The system's timer is late by some 50 µs: a request that comes then is there sooner.
            Activity::WaitsUntil(end) => self.needs() == Needs::Ready || Instant::now() >= end,
        };
        let wakes = is_worth_it && !self.is_woken;
        self.is_woken |= wakes;
        wakes
    }

    /// Begins a group, with the requests that are there.
    fn begin(&mut self) {
        self.activity = Activity::Waits;
        let agencies = self.requests.iter().filter_map(|request| request.agency);
        agencies.for_each(|agency| self.delay.came(agency));
    }

    /// The thread looks what its next group needs.
    fn look(&mut self) -> Needs {
        self.is_woken = false;
        self.needs()
    }

    fn needs(&self) -> Needs {
        if self.requests.is_empty() {
            return if self.is_over { Needs::Over } else { Needs::Any };
        }
        let may_wait =
            self.one_may_wait && self.requests.len() < QUEUE_REQUESTS_MAX && !self.is_over;
        let limit = self.delay.limit().filter(|_| may_wait);
        limit.map_or(Needs::Ready, Needs::Others)
    }

    /// How much is left of the `limit` that began when this was asked first.
    fn left(&mut self, limit: Duration) -> Duration {
        let now = Instant::now();
        let end = match self.activity {
            Activity::WaitsUntil(end) => end,
            Activity::Works | Activity::Waits => now + limit,
        };
        self.activity = Activity::WaitsUntil(end);
        end.saturating_duration_since(now)
    }

    fn take(&mut self) -> Vec<Queued<W>> {
        (self.activity, self.one_may_wait) = (Activity::Works, false);
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

    /// The thread looks, and starts to wait for the agencies that are missing.
    fn waits(state: &mut State<u32>) -> bool {
        matches!(state.look(), Needs::Others(limit) if !state.left(limit).is_zero())
    }

    #[test]
    fn only_the_first_and_the_last_request_of_a_group_wake_the_thread() {
        let mut state = after(&[1, 2, 3]);
        assert_eq!(state.needs(), Needs::Any);
        assert!(state.push(of(1)), "the delay has to be started");
        assert!(!state.push(of(9)), "the thread has not looked since it was woken");
        assert!(waits(&mut state));
        assert!(!state.push(of(2)), "3 is missing");
        assert!(!state.push(of(7)), "an agency that is not waited for");
        assert!(state.push(of(3)), "the last one");
        assert!(!state.push(of(4)), "the thread has not looked since it was woken");
        assert_eq!((state.look(), numbers(state.take())), (Needs::Ready, vec![1, 9, 2, 7, 3, 4]));
    }

    #[test]
    fn a_request_after_the_end_of_the_delay_wakes_the_thread() {
        let mut state = after(&[1, 2, 3]);
        state.push(of(1));
        assert!(matches!(state.look(), Needs::Others(_)));
        assert!(state.left(Duration::ZERO).is_zero());
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
        assert!(matches!(state.needs(), Needs::Others(_)), "1 comes again");
        state.push(of(1));
        assert_eq!((state.needs(), numbers(state.take())), (Needs::Ready, vec![2, 1]));
    }

    #[test]
    fn a_question_alone_is_not_delayed() {
        let mut state = after(&[1]);
        assert!(state.push(of(0)));
        assert_eq!(state.needs(), Needs::Ready);
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
            // The thread holds the state from when it begins a group until it sleeps.
            while sender.0.lock().activity != Activity::Waits {
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
