//! Looking at the volume whenever there may be something to see: after a close here, after a hint
//! from another instance, and by itself in between.

use std::fmt::Display;
use std::future::{pending, ready};
use std::sync::Arc;

use protocol::BetNumber;
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::announce::Announcer;
use crate::limits::{LOOK_INTERVAL, LOOK_PAUSE};
use crate::store::{Draw, Store, Unavailable};

/// The settings that must be the same on every instance.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    /// AGENCIES_AMOUNT.
    pub agencies_amount: u32,
    /// LOTTERY_WINNER_NUMBER.
    pub winning_number: BetNumber,
}

/// Watches until `shutdown`. An instance announces a draw unless it hears an announcement: at once
/// if this instance holds the draw or ends, else after a random time of one to two
/// [`LOOK_INTERVAL`], in which the instance that holds the draw announces first.
pub async fn watch<S: Store, A: Announcer>(
    store: S,
    announcer: A,
    common: Common,
    closed: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut by_itself = interval(LOOK_INTERVAL);
    by_itself.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_fault, mut deaf) = (None, false);
    let mut draw = store.draw();
    draw.mark_changed();
    // When this instance announces the draw, unless it hears an announcement before.
    let mut due = tell_new_draw(&mut draw, common).then(announcement_deadline);
    // Whether an announcement was heard since the last look that succeeded.
    let mut is_heard = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = hear(&announcer, &mut deaf) => (is_heard, due) = (true, None),
            () = sleep_until_due(due) => {
                due = None;
                // The day may have been put away since.
                if draw.borrow().is_some() {
                    announce(&announcer, &mut deaf).await;
                }
                continue;
            }
            () = closed.notified() => {}
            _ = by_itself.tick() => {}
            Ok(()) = draw.changed() => {
                draw.mark_changed();
                if tell_new_draw(&mut draw, common) {
                    due = Some(announcement_deadline());
                }
                continue;
            }
        }
        let looked = tokio::select! {
            () = shutdown.cancelled() => break,
            looked = store.look() => looked,
        };
        tell_fault(&looked, &mut last_fault);
        if tell_new_draw(&mut draw, common) && !is_heard {
            if looked == Ok(true) {
                // Before the pause: others wait for it.
                announce(&announcer, &mut deaf).await;
            } else {
                due = Some(announcement_deadline());
            }
        }
        is_heard &= looked.is_err();
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(LOOK_PAUSE) => {}
        }
    }
    let is_new = tell_new_draw(&mut draw, common);
    if draw.borrow().is_some() && (due.is_some() || (is_new && !is_heard)) {
        announce(&announcer, &mut deaf).await;
    }
}

/// Logs a draw that the instance did not know of; says whether there is one.
fn tell_new_draw(draw: &mut Receiver<Option<Arc<Draw>>>, common: Common) -> bool {
    // An error is that the store has ended, which says nothing new.
    if !matches!(draw.has_changed(), Ok(true)) {
        return false;
    }
    let Some(draw) = draw.borrow_and_update().clone() else { return false };
    let (numero, cantidad, time) = (draw.number.get(), draw.bets, draw.time.as_str());
    info!(action = "draw", result = "success", numero, cantidad, time);
    info!(action = "sorteo", result = "success");
    tell_difference("AGENCIES_AMOUNT", common.agencies_amount, draw.agencies_amount);
    tell_difference("LOTTERY_WINNER_NUMBER", common.winning_number.get(), draw.number.get());
    true
}

/// Announces the draw, unless an announcement waits to be heard: another instance was faster.
async fn announce(announcer: &impl Announcer, deaf: &mut bool) {
    tokio::select! {
        biased;
        () = hear(announcer, deaf) => return,
        () = ready(()) => {}
    }
    if let Err(error) = announcer.announce().await {
        let error = error.to_string();
        let next = "other servers look by themselves; if it lasts, set UDP_BROADCAST_IP";
        warn!(action = "announce", result = "fail", error, next);
    }
}

/// When the draw is announced if no announcement is heard. Several instances may wait: the first
/// one that announces is heard by the others, because each waits for another time.
fn announcement_deadline() -> Instant {
    Instant::now() + LOOK_INTERVAL.mul_f64(rand::random_range(1.0..2.0))
}

/// Waits until `due`, or for ever if nothing is.
async fn sleep_until_due(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// The draw was held by an instance with other settings: somebody must say which were meant.
fn tell_difference<T: PartialEq + Display>(key: &str, here: T, drawn: T) {
    if here != drawn {
        let error = format!(
            "the draw was held with {key}={drawn}, by another instance, and this one has \
             {key}={here}: give all instances the same settings; if {drawn} is wrong, put the day \
             away and hold it again"
        );
        error!(action = "config", result = "fail", error);
    }
}

/// Without a working socket nothing is ever heard, which is told once; looking by itself goes on.
async fn hear(announcer: &impl Announcer, deaf: &mut bool) {
    if !*deaf && let Err(error) = announcer.hear().await {
        *deaf = true;
        let next = "looks by itself, twice a second";
        warn!(action = "hear", result = "fail", error = error.to_string(), next);
    }
    if *deaf {
        pending::<()>().await;
    }
    debug!(action = "hear", result = "success");
}

/// A fault that lasts is told once.
fn tell_fault(looked: &Result<bool, Unavailable>, last: &mut Option<Unavailable>) {
    let fault = looked.as_ref().err();
    match fault {
        Some(Unavailable(error)) if fault != last.as_ref() => {
            warn!(action = "look", result = "fail", error, next = "looks again");
        }
        None if last.is_some() => info!(action = "look", result = "success"),
        _ => {}
    }
    *last = fault.cloned();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use protocol::AgencyId;
    use tokio::sync::watch::{Sender, channel};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use crate::announce::MemoryAnnouncer;
    use crate::store::{AgencyStatus, Appended, Batch, Closed, DrawRecord, Unknown};

    fn common() -> Common {
        Common { agencies_amount: 0, winning_number: BetNumber::new(7).unwrap() }
    }

    /// Loses every announcement.
    struct Dropping(MemoryAnnouncer);

    impl Announcer for Dropping {
        async fn announce(&self) -> io::Result<()> {
            Ok(())
        }

        async fn hear(&self) -> io::Result<()> {
            self.0.hear().await
        }
    }

    /// Delivers every announcement late.
    struct Delaying(MemoryAnnouncer, Duration);

    impl Announcer for Delaying {
        async fn announce(&self) -> io::Result<()> {
            sleep(self.1).await;
            self.0.announce().await
        }

        async fn hear(&self) -> io::Result<()> {
            self.0.hear().await
        }
    }

    /// A volume as one instance sees it: a look finds the draw once it is there, and has held it
    /// if that is what this instance does.
    #[derive(Clone)]
    struct Volume {
        drawn: Arc<AtomicU64>,
        holds: bool,
        /// How many of the next looks fail.
        failures: Arc<AtomicU64>,
        told: Arc<Sender<Option<Arc<Draw>>>>,
        looks: Arc<AtomicU64>,
    }

    impl Volume {
        fn new() -> Self {
            let (drawn, failures, looks) = Default::default();
            Self { drawn, holds: false, failures, told: Arc::new(channel(None).0), looks }
        }
    }

    impl Store for Volume {
        async fn append(&self, _: &Batch<'_>) -> Result<Appended, Unknown> {
            unreachable!("nobody stores here")
        }

        async fn close(&self, _: AgencyId, _: Option<u64>) -> Result<Closed, Unknown> {
            unreachable!("nobody closes here")
        }

        async fn status(&self, _: AgencyId) -> Result<AgencyStatus, Unavailable> {
            unreachable!("nobody asks here")
        }

        async fn look(&self) -> Result<bool, Unavailable> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            let failures = self.failures.load(Ordering::Relaxed);
            if failures > 0 {
                self.failures.store(failures - 1, Ordering::Relaxed);
                return Err(Unavailable("the lock is held".to_owned()));
            }
            if self.drawn.load(Ordering::Relaxed) > 0 && self.told.borrow().is_none() {
                let record = DrawRecord {
                    winning_number: 7,
                    agencies_amount: 0,
                    bets: 0,
                    time: "now".into(),
                    instance: "another".into(),
                    agencies: Vec::new(),
                };
                self.told.send_replace(Some(Arc::new(record.try_into().unwrap())));
                return Ok(self.holds);
            }
            Ok(false)
        }

        fn draw(&self) -> Receiver<Option<Arc<Draw>>> {
            self.told.subscribe()
        }
    }

    /// How long an instance takes to find a draw that another one held and announced by `theirs`.
    async fn time_to_find(theirs: impl Announcer, ours: impl Announcer) -> Duration {
        let (volume, shutdown) = (Volume::new(), CancellationToken::new());
        let watching =
            tokio::spawn(watch(volume.clone(), ours, common(), Arc::default(), shutdown.clone()));
        sleep(Duration::from_millis(1_230)).await;
        let (since, mut draw) = (Instant::now(), volume.draw());
        volume.drawn.store(1, Ordering::Relaxed);
        theirs.announce().await.unwrap();
        let found = timeout(Duration::from_secs(60), draw.wait_for(Option::is_some)).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "it never looked");
        let took = since.elapsed();
        shutdown.cancel();
        watching.await.unwrap();
        took
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_announcement_delays_by_a_second_at_most() {
        let one = MemoryAnnouncer::first();
        let took = time_to_find(Dropping(one.another()), one).await;
        assert!(took <= Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_is_acted_on_at_once_also_a_late_one() {
        let one = MemoryAnnouncer::first();
        let took = time_to_find(one.another(), one).await;
        assert!(took <= LOOK_PAUSE, "{took:?}");
        let (one, late) = (MemoryAnnouncer::first(), Duration::from_secs(5));
        let took = time_to_find(Delaying(one.another(), late), one).await;
        assert!(took <= late, "found by itself before it was heard: {took:?}");
    }

    /// An instance that watches, in a group that hears what it announces.
    struct Watching {
        volume: Volume,
        closed: Arc<Notify>,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Watching {
        /// Its first look is over.
        async fn start(volume: Volume, announcer: impl Announcer) -> Self {
            let (closed, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
            let all = (volume.clone(), Arc::clone(&closed), shutdown.clone());
            let task = tokio::spawn(watch(all.0, announcer, common(), all.1, all.2));
            sleep(LOOK_PAUSE * 2).await;
            Self { volume, closed, shutdown, task }
        }

        /// The draw is there, and the instance looks.
        fn finds_draw(&self) {
            self.volume.drawn.store(1, Ordering::Relaxed);
            self.closed.notify_one();
        }

        async fn end(self) {
            self.shutdown.cancel();
            self.task.await.unwrap();
        }
    }

    /// A volume whose draw this instance holds.
    fn holding() -> Volume {
        Volume { holds: true, ..Volume::new() }
    }

    /// When announcements come within 5 s, from now on.
    async fn announced(ear: &MemoryAnnouncer) -> Vec<Duration> {
        let since = Instant::now();
        let mut times = Vec::new();
        while timeout(Duration::from_secs(5), ear.hear()).await.is_ok() {
            times.push(since.elapsed());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn the_instance_that_holds_the_draw_announces_it_at_once_and_once() {
        let ours = MemoryAnnouncer::first();
        let ear = ours.another();
        let watching = Watching::start(holding(), ours).await;
        watching.finds_draw();
        let times = announced(&ear).await;
        assert!(matches!(times[..], [at] if at < LOOK_PAUSE / 2), "{times:?}");
        watching.end().await;
        assert!(announced(&ear).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_draw_that_was_not_announced_is_announced_after_a_wait_and_once() {
        let ours = MemoryAnnouncer::first();
        let ear = ours.another();
        let watching = Watching::start(Volume::new(), ours).await;
        watching.finds_draw();
        let times = announced(&ear).await;
        let wait = LOOK_INTERVAL..LOOK_INTERVAL * 2 + LOOK_PAUSE;
        assert!(matches!(times[..], [at] if wait.contains(&at)), "{times:?}");
        watching.end().await;
        assert!(announced(&ear).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_draw_that_is_there_at_the_start_is_announced_once() {
        let (ours, volume) = (MemoryAnnouncer::first(), Volume::new());
        let ear = ours.another();
        volume.drawn.store(1, Ordering::Relaxed);
        let _ = volume.look().await;
        let watching = Watching::start(volume, ours).await;
        assert_eq!(announced(&ear).await.len(), 1);
        watching.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_heard_of_the_draw_announces_nothing() {
        for (is_before_look, holds) in [(true, false), (true, true), (false, false)] {
            let ours = MemoryAnnouncer::first();
            let theirs = ours.another();
            let watching = Watching::start(Volume { holds, ..Volume::new() }, ours).await;
            if is_before_look {
                watching.volume.drawn.store(1, Ordering::Relaxed);
            } else {
                watching.finds_draw();
                sleep(LOOK_PAUSE * 2).await;
            }
            theirs.announce().await.unwrap();
            assert_eq!(announced(&theirs).await.len(), 1, "its own");
            assert!(watching.volume.told.borrow().is_some());
            watching.end().await;
            assert!(announced(&theirs).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_does_not_use_up_what_was_heard() {
        let ours = MemoryAnnouncer::first();
        let theirs = ours.another();
        let watching = Watching::start(Volume::new(), ours).await;
        watching.volume.failures.store(3, Ordering::Relaxed);
        watching.volume.drawn.store(1, Ordering::Relaxed);
        theirs.announce().await.unwrap();
        assert_eq!(announced(&theirs).await.len(), 1, "its own");
        assert!(watching.volume.told.borrow().is_some());
        watching.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_draw_that_was_put_away_is_not_announced() {
        for ends in [false, true] {
            let ours = MemoryAnnouncer::first();
            let ear = ours.another();
            let watching = Watching::start(Volume::new(), ours).await;
            watching.finds_draw();
            sleep(LOOK_PAUSE * 2).await;
            watching.volume.drawn.store(0, Ordering::Relaxed);
            assert!(watching.volume.told.send_replace(None).is_some());
            if ends {
                watching.end().await;
            }
            assert!(announced(&ear).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_before_the_draw_does_not_count() {
        let ours = MemoryAnnouncer::first();
        let forger = ours.another();
        let watching = Watching::start(Volume::new(), ours).await;
        forger.announce().await.unwrap();
        sleep(LOOK_PAUSE * 2).await;
        watching.finds_draw();
        assert_eq!(announced(&forger).await.len(), 2);
        watching.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn several_instances_announce_a_draw_once_also_if_the_one_that_held_it_does_not() {
        for holder_lives in [true, false] {
            let (ear, drawn) = (MemoryAnnouncer::first(), Arc::new(AtomicU64::new(0)));
            let mut all = Vec::new();
            for place in 0..3 {
                let holds = holder_lives && place == 0;
                let volume = Volume { drawn: Arc::clone(&drawn), holds, ..Volume::new() };
                all.push(Watching::start(volume, ear.another()).await);
                sleep(LOOK_INTERVAL / 5).await;
            }
            for watching in &all {
                watching.finds_draw();
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(announced(&ear).await.len(), 1, "holder lives: {holder_lives}");
            for watching in all {
                watching.end().await;
            }
            assert!(announced(&ear).await.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_ends_announces_at_once_what_it_has_not_heard() {
        for is_heard in [false, true] {
            let ours = MemoryAnnouncer::first();
            let theirs = ours.another();
            let watching = Watching::start(Volume::new(), ours).await;
            watching.finds_draw();
            sleep(LOOK_PAUSE / 2).await;
            if is_heard {
                theirs.announce().await.unwrap();
                theirs.hear().await.unwrap();
            }
            let since = Instant::now();
            watching.end().await;
            assert!(since.elapsed() < LOOK_PAUSE / 2, "{:?}", since.elapsed());
            assert_eq!(announced(&theirs).await.len(), usize::from(!is_heard));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_draw_that_becomes_known_at_the_end_is_announced() {
        let ours = MemoryAnnouncer::first();
        let ear = ours.another();
        let watching = Watching::start(Volume::new(), ours).await;
        watching.closed.notify_one();
        sleep(LOOK_PAUSE / 2).await;
        watching.volume.drawn.store(1, Ordering::Relaxed);
        let _ = watching.volume.look().await;
        watching.end().await;
        assert_eq!(announced(&ear).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_announcements_makes_few_looks() {
        let (one, volume) = (MemoryAnnouncer::first(), Volume::new());
        let (flood, looks) = (one.another(), Arc::clone(&volume.looks));
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(watch(volume, one, common(), Arc::default(), shutdown.clone()));
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(1) {
            flood.announce().await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
        watching.await.unwrap();
        let most = 1_000 / LOOK_PAUSE.as_millis() as u64 + 5;
        assert!((1..=most).contains(&looks.load(Ordering::Relaxed)), "{looks:?}");
    }
}
