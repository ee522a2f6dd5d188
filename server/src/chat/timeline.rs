//! The day's events as lines of the log: closes, the draw, instances that come and go.
//!
//! **Invariant**: what happened is told once, whichever instances see it, and as often as it takes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use messages::Command;
use protocol::AgencyId;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::store::Draw;
use crate::store::messages::{Commanded, MessageStore};

/// How long an event waits that could not be stored.
const RETRY: Duration = Duration::from_secs(1);

/// What has happened and is not told yet. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Timeline(Arc<Events>);

#[derive(Debug, Default)]
struct Events {
    closed: Mutex<BTreeSet<AgencyId>>,
    notify: Notify,
}

impl Timeline {
    /// An agency has closed.
    pub fn closed(&self, agency: AgencyId) {
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner).insert(agency);
        self.0.notify.notify_one();
    }

    fn take_closed(&self) -> BTreeSet<AgencyId> {
        std::mem::take(&mut *self.0.closed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells what happens, until `shutdown`, and then that the instance ends.
pub async fn record<M: MessageStore>(
    store: M,
    instance: String,
    timeline: Timeline,
    mut draw: watch::Receiver<Option<Arc<Draw>>>,
    shutdown: CancellationToken,
) {
    let server = format!("server {instance}");
    let came = if store.last_event(&server).as_deref() == Some("started") {
        event(&server, "returned", format!("the server {instance} is back"))
    } else {
        event(&server, "started", format!("the server {instance} has started"))
    };
    tell(&store, came, &shutdown).await;
    draw.mark_changed();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = timeline.0.notify.notified() => {}
            changed = draw.changed() => {
                let held = draw.borrow_and_update().clone();
                if let Some(held) = held {
                    let text = format!(
                        "the draw is held: {} wins, of {} bets", held.number, held.bets
                    );
                    tell(&store, event("draw", &held.time, text), &shutdown).await;
                }
                if changed.is_err() {
                    break;
                }
            }
        }
        for agency in timeline.take_closed() {
            let text = format!("agency {agency} has closed");
            tell(&store, event(&format!("agency {agency}"), "closed", text), &shutdown).await;
        }
    }
    let gone = event(&server, "ended", format!("the server {instance} has ended"));
    // Once: it ends whether or not this is stored.
    let _ = store.command(gone).await;
}

fn event(subject: &str, word: &str, text: String) -> Command {
    Command::Event { subject: subject.to_owned(), word: word.to_owned(), text }
}

async fn tell<M: MessageStore>(store: &M, event: Command, shutdown: &CancellationToken) {
    while let Ok(Commanded::TryAgain(_)) = store.command(event.clone()).await {
        if shutdown.run_until_cancelled(sleep(RETRY)).await.is_none() {
            return;
        }
    }
}
