//! Looking at the volume whenever there may be something to see: after a close here, after a hint
//! from another instance, and by itself in between.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::announce::Announcer;
use crate::limits::{LOOK_INTERVAL, LOOK_PAUSE};
use crate::store::{Draw, Store, Unavailable};

/// Watches until `shutdown`. Whoever holds the draw announces it.
pub async fn watch<S: Store, A: Announcer>(
    store: S,
    announcer: A,
    closed: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut by_itself = interval(LOOK_INTERVAL);
    by_itself.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_fault, mut deaf) = (None, false);
    let mut draw = store.draw();
    draw.mark_changed();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = closed.notified() => {}
            _ = by_itself.tick() => {}
            () = hear(&announcer, &mut deaf) => {}
            Ok(()) = draw.changed() => tell_draw(&draw),
        }
        let looked = store.look().await;
        tell_fault(&looked, &mut last_fault);
        if looked == Ok(true)
            && let Err(error) = announcer.announce().await
        {
            let error = error.to_string();
            warn!(action = "announce", result = "fail", error, next = "others look themselves");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(LOOK_PAUSE) => {}
        }
    }
}

/// Every instance logs the draw, whoever held it.
fn tell_draw(draw: &Receiver<Option<Arc<Draw>>>) {
    if let Some(draw) = draw.borrow().as_deref() {
        let (numero, cantidad, time) = (draw.number.get(), draw.bets, draw.time.as_str());
        info!(action = "sorteo", result = "success", numero, cantidad, time);
    }
}

/// Without a working socket nothing is ever heard, which is told once; looking by itself goes on.
async fn hear(announcer: &impl Announcer, deaf: &mut bool) {
    if !*deaf && let Err(error) = announcer.hear().await {
        *deaf = true;
        warn!(action = "hear", result = "fail", error = error.to_string());
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
