//! The commit queue: requests wait in it for the store's thread, and wake that thread.
//!
//! To wake a thread takes longer than to hand a request over, and while a group waits for others
//! (`commit_delay.rs`) the thread has nothing to do with those that come. So the first request
//! wakes it, and then the last one that is waited for, or the clock. No request wakes it again
//! before it has looked.
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

/// What can wait in a queue.
pub(super) trait Queueable {
    /// Whose rows or close it is, if it is one.
    fn agency(&self) -> Option<AgencyId>;

    /// Whether it is better carried out with others than at once.
    fn may_wait(&self) -> bool;
}

/// A queue, by its two ends.
pub(super) fn queue<C: Queueable>() -> (QueueSender<C>, QueueReceiver<C>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::new()), wakes: Condvar::new() });
    (QueueSender(Arc::clone(&shared)), QueueReceiver(shared))
}

/// Where requests come in. When it is dropped, no more do.
pub(super) struct QueueSender<C>(Arc<Shared<C>>);

/// Where the thread takes them. When it is dropped, what waits is dropped, and nothing more is
/// taken.
pub(super) struct QueueReceiver<C>(Arc<Shared<C>>);

/// The thread has ended.
#[derive(Debug)]
pub(super) struct ThreadEnded;

impl<C: Queueable> QueueSender<C> {
    /// Takes a request.
    pub(super) fn push(&self, request: C) -> Result<(), ThreadEnded> {
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

impl<C> Drop for QueueSender<C> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.wakes.notify_one();
    }
}

impl<C: Queueable> QueueReceiver<C> {
    /// Waits for a request, and for others as long as the commit delay says; returns them all, the
    /// oldest first. `None` when no more come.
    pub(super) fn next_group(&self) -> Option<Vec<C>> {
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

impl<C> Drop for QueueReceiver<C> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let dropped = mem::take(&mut state.requests);
        drop(state);
        drop(dropped);
    }
}

struct Shared<C> {
    state: Mutex<State<C>>,
    wakes: Condvar,
}

impl<C> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'s>(
        &self,
        state: MutexGuard<'s, State<C>>,
        most: Duration,
    ) -> MutexGuard<'s, State<C>> {
        self.wakes.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct State<C> {
    /// What waits, the oldest first.
    requests: Vec<C>,
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

impl<C: Queueable> State<C> {
    fn new() -> Self {
        let (requests, delay, activity) = (Vec::new(), CommitDelay::default(), Activity::Works);
        Self { requests, one_may_wait: false, delay, activity, is_woken: false, is_over: false }
    }

    /// Adds a request; returns whether the thread is to be woken.
    fn push(&mut self, request: C) -> bool {
        self.one_may_wait |= request.may_wait();
        if self.activity != Activity::Works
            && let Some(agency) = request.agency()
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
        let agencies = self.requests.iter().filter_map(Queueable::agency);
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

    fn take(&mut self) -> Vec<C> {
        (self.activity, self.one_may_wait) = (Activity::Works, false);
        mem::take(&mut self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC_TOOK: Duration = Duration::from_secs(3_600);

    /// Something of an agency that is to be stored, or a question.
    #[derive(Debug, PartialEq, Eq)]
    struct Something(Option<AgencyId>);

    impl Queueable for Something {
        fn agency(&self) -> Option<AgencyId> {
            self.0
        }

        fn may_wait(&self) -> bool {
            self.0.is_some()
        }
    }

    impl Queueable for Arc<()> {
        fn agency(&self) -> Option<AgencyId> {
            None
        }

        fn may_wait(&self) -> bool {
            false
        }
    }

    fn of(agency: u32) -> Something {
        Something(AgencyId::new(agency))
    }

    const QUESTION: Something = Something(None);

    /// The thread has stored a group of these agencies, and delays the next one.
    fn delaying(stored: &[u32]) -> State<Something> {
        let mut state = State::new();
        let agencies: Vec<_> = stored.iter().filter_map(|number| AgencyId::new(*number)).collect();
        state.delay.stored(&agencies, SYNC_TOOK);
        state.begin();
        state
    }

    #[test]
    fn the_first_and_the_last_of_a_group_wake_the_thread_and_nobody_between() {
        let mut state = delaying(&[1, 2, 3]);
        assert_eq!(state.needs(), Needs::Any);
        assert!(state.push(of(2)), "the clock has to be started");
        assert!(matches!(state.look(), Needs::Others(_)), "1 and 3 come again");
        assert!(!state.left(SYNC_TOOK).is_zero());
        assert!(!state.push(of(1)));
        assert!(!state.push(of(7)), "who was not waited for does not count");
        assert!(state.push(of(3)));
        assert_eq!(state.needs(), Needs::Ready);
        assert_eq!(state.take(), [of(2), of(1), of(7), of(3)]);
    }

    #[test]
    fn a_thread_that_was_woken_is_not_woken_again_before_it_looks() {
        let mut state = delaying(&[1, 2, 3]);
        assert!(state.push(of(1)));
        assert!(!state.push(of(2)), "it has not seen the first one yet");
        assert!(matches!(state.look(), Needs::Others(_)), "3 comes again");
        assert!(!state.left(SYNC_TOOK).is_zero());
        assert!(state.push(of(3)));
        assert!(!state.push(of(4)), "it has not seen the last one yet");
        assert_eq!((state.look(), state.take().len()), (Needs::Ready, 4));
    }

    #[test]
    fn whoever_comes_when_the_time_is_over_wakes_the_thread() {
        let mut state = delaying(&[1, 2, 3]);
        state.push(of(1));
        assert!(matches!(state.look(), Needs::Others(_)));
        assert!(state.left(Duration::ZERO).is_zero());
        assert!(state.push(of(7)));
    }

    #[test]
    fn what_comes_while_the_thread_works_is_the_next_group() {
        let mut state = delaying(&[1]);
        state.push(of(1));
        assert_eq!(state.take(), [of(1)]);
        assert!(!state.push(of(2)), "it is awake");
        state.delay.stored(&[AgencyId::new(1).unwrap()], SYNC_TOOK);
        state.begin();
        assert!(matches!(state.needs(), Needs::Others(_)), "1 comes again");
        state.push(of(1));
        assert_eq!((state.needs(), state.take()), (Needs::Ready, vec![of(2), of(1)]));
    }

    #[test]
    fn questions_alone_wait_for_nobody() {
        let mut state = delaying(&[1]);
        assert!(state.push(QUESTION));
        assert_eq!(state.needs(), Needs::Ready);
    }

    #[test]
    fn what_waits_is_handed_over_after_the_last_caller_has_gone() {
        let (callers, calls) = queue();
        calls.stored(&[AgencyId::new(2).unwrap()], SYNC_TOOK);
        callers.push(of(1)).unwrap();
        drop(callers);
        assert_eq!(calls.next_group(), Some(vec![of(1)]));
        assert_eq!(calls.next_group(), None);
    }

    #[test]
    fn nothing_is_taken_when_the_thread_has_ended_and_what_waits_is_dropped() {
        let (held, (callers, calls)) = (Arc::new(()), queue());
        callers.push(Arc::clone(&held)).unwrap();
        drop(calls);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(callers.push(held).is_err());
    }

    /// Comes back when the thread sleeps: from when it begins a group until then it has the state.
    fn asleep(callers: &QueueSender<Something>) {
        while callers.0.lock().activity != Activity::Waits {
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_is_waited_for_in_vain_is_left_behind() {
        let (callers, calls) = queue();
        calls.stored(&[AgencyId::new(1).unwrap(), AgencyId::new(2).unwrap()], SYNC_TOOK);
        callers.push(of(1)).unwrap();
        assert_eq!(calls.next_group(), Some(vec![of(1)]));
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let (callers, calls) = queue();
        let (groups, stored) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            while let Some(group) = calls.next_group() {
                groups.send(group).unwrap();
            }
        });
        for agency in 1..=3 {
            asleep(&callers);
            callers.push(of(agency)).unwrap();
            assert_eq!(stored.recv_timeout(Duration::from_secs(60)), Ok(vec![of(agency)]));
        }
        asleep(&callers);
        drop(callers);
        thread.join().unwrap();
    }
}
