//! Looking at the volume whenever there may be something to see: after a close here, after a hint
//! from another instance, and by itself in between.

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
    let mut due = log_new_draw(&mut draw, common).then(announcement_deadline);
    // Whether an announcement was heard since the last look that succeeded.
    let mut is_heard = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = hear(&announcer, &mut deaf) => (is_heard, due) = (true, None),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
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
                if log_new_draw(&mut draw, common) {
                    due = Some(announcement_deadline());
                }
                continue;
            }
        }
        let looked = tokio::select! {
            () = shutdown.cancelled() => break,
            looked = store.look() => looked,
        };
        log_fault(&looked, &mut last_fault);
        if log_new_draw(&mut draw, common) && !is_heard {
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
    let is_new = log_new_draw(&mut draw, common);
    if draw.borrow().is_some() && (due.is_some() || (is_new && !is_heard)) {
        announce(&announcer, &mut deaf).await;
    }
}

/// Logs a draw that the instance did not know of; says whether there is one.
fn log_new_draw(draw: &mut Receiver<Option<Arc<Draw>>>, common: Common) -> bool {
    // An error is that the store has ended, which says nothing new.
    if !matches!(draw.has_changed(), Ok(true)) {
        return false;
    }
    let Some(draw) = draw.borrow_and_update().clone() else { return false };
    let (numero, cantidad, time) = (draw.number.get(), draw.bets, draw.time.as_str());
    info!(action = "draw", result = "success", numero, cantidad, time);
    info!(action = "sorteo", result = "success");
    // An operator must decide which settings were meant.
    for (key, here, drawn) in draw.differences(common.agencies_amount, common.winning_number) {
        let error = format!(
            "the draw was held with {key}={drawn}, by another instance, and this one has \
             {key}={here}: give all instances the same settings; if {drawn} is wrong, put the day \
             away and hold it again"
        );
        error!(action = "config", result = "fail", error);
    }
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

/// Without a working socket nothing is ever heard, which is logged once; looking by itself goes on.
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

/// A fault that lasts is logged once.
fn log_fault(looked: &Result<bool, Unavailable>, last: &mut Option<Unavailable>) {
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
