//! Looking at the volume whenever there may be something to see: after a close here, after a hint
//! from another instance, and by itself in between.

use std::fmt::Display;
use std::sync::Arc;

use protocol::BetNumber;
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep};
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

/// Watches until `shutdown`. Whoever comes to know of the draw before that announces it.
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
    loop {
        tell_new_draw(&mut draw, common, &announcer).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = closed.notified() => {}
            _ = by_itself.tick() => {}
            () = hear(&announcer, &mut deaf) => {}
            Ok(()) = draw.changed() => {
                draw.mark_changed();
                continue;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            looked = store.look() => tell_fault(&looked, &mut last_fault),
        }
        // Before the pause: others wait for it.
        tell_new_draw(&mut draw, common, &announcer).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(LOOK_PAUSE) => {}
        }
    }
    tell_new_draw(&mut draw, common, &announcer).await;
}

/// Every instance logs the draw and announces it when it comes to know of it, whoever held it: the
/// one who did may have ended before it could.
async fn tell_new_draw(
    draw: &mut Receiver<Option<Arc<Draw>>>,
    common: Common,
    announcer: &impl Announcer,
) {
    // An error is that the store has ended, which says nothing new.
    if !matches!(draw.has_changed(), Ok(true)) {
        return;
    }
    let Some(draw) = draw.borrow_and_update().clone() else { return };
    let (numero, cantidad, time) = (draw.number.get(), draw.bets, draw.time.as_str());
    info!(action = "draw", result = "success", numero, cantidad, time);
    info!(action = "sorteo", result = "success");
    tell_difference("AGENCIES_AMOUNT", common.agencies_amount, draw.agencies_amount);
    tell_difference("LOTTERY_WINNER_NUMBER", common.winning_number.get(), draw.number.get());
    if let Err(error) = announcer.announce().await {
        let error = error.to_string();
        let next = "other servers look by themselves; if it lasts, set UDP_BROADCAST_IP";
        warn!(action = "announce", result = "fail", error, next);
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
        std::future::pending::<()>().await;
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
    use tokio::time::{Instant, timeout};

    use crate::announce::MemoryAnnouncer;
    use crate::store::{AgencyStatus, Appended, Batch, Closed, DrawRecord};

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

    /// A volume that another instance draws on: a look finds the draw once it is there.
    #[derive(Clone)]
    struct Volume {
        drawn: Arc<AtomicU64>,
        told: Arc<Sender<Option<Arc<Draw>>>>,
        looks: Arc<AtomicU64>,
    }

    impl Volume {
        fn new() -> Self {
            let (drawn, looks) = (Arc::default(), Arc::default());
            Self { drawn, told: Arc::new(channel(None).0), looks }
        }
    }

    impl Store for Volume {
        async fn append(&self, _: &Batch<'_>) -> Appended {
            unreachable!("nobody stores here")
        }

        async fn close(&self, _: AgencyId, _: Option<u64>) -> Closed {
            unreachable!("nobody closes here")
        }

        async fn status(&self, _: AgencyId) -> Result<AgencyStatus, Unavailable> {
            unreachable!("nobody asks here")
        }

        async fn look(&self) -> Result<bool, Unavailable> {
            self.looks.fetch_add(1, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn a_draw_is_announced_once_as_soon_as_it_is_known_also_at_the_end() {
        for is_at_the_end in [false, true] {
            let (ours, volume) = (MemoryAnnouncer::first(), Volume::new());
            let (theirs, shutdown) = (ours.another(), CancellationToken::new());
            let closed = Arc::new(Notify::new());
            let watched =
                watch(volume.clone(), ours, common(), Arc::clone(&closed), shutdown.clone());
            let watching = tokio::spawn(watched);
            // Within the pause after its first look, if that is where it is to end.
            sleep(if is_at_the_end { LOOK_PAUSE / 2 } else { LOOK_PAUSE * 2 }).await;
            volume.drawn.store(1, Ordering::Relaxed);
            let since = Instant::now();
            if is_at_the_end {
                let _ = volume.look().await;
                shutdown.cancel();
                watching.await.unwrap();
            } else {
                closed.notify_one();
            }
            timeout(Duration::from_secs(1), theirs.hear()).await.unwrap().unwrap();
            assert!(since.elapsed() < LOOK_PAUSE / 2, "{:?}", since.elapsed());
            assert!(timeout(Duration::from_secs(3), theirs.hear()).await.is_err(), "told twice");
            shutdown.cancel();
        }
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
