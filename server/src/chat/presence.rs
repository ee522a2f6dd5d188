//! Who is online: who has joined here and reads, or has read within half a minute.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use messages::Command;
use protocol::chat::Name;
use protocol::limits::READ_SECONDS_MAX;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Chat;
use crate::limits::{PRESENCE_INTERVAL, PRESENCE_LOOKS};
use crate::store::messages::{Commanded, MessageStore};

/// How long somebody is online without a read.
const SILENCE_MAX: Duration = Duration::from_secs(READ_SECONDS_MAX);

/// The participants for whom this instance answers.
#[derive(Debug, Default)]
pub struct Presence(Mutex<HashMap<Name, Reader>>);

#[derive(Debug)]
struct Reader {
    /// How many reads wait.
    reads: u32,
    /// When there was last a sign of them.
    last: Instant,
}

/// A read that waits.
pub struct Reading<'p> {
    presence: &'p Presence,
    name: Name,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.presence.change(&self.name, |reader| reader.reads = reader.reads.saturating_sub(1));
    }
}

impl Presence {
    fn readers(&self) -> MutexGuard<'_, HashMap<Name, Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &Name, change: impl FnOnce(&mut Reader)) {
        let mut readers = self.readers();
        let now = Instant::now();
        let reader = readers.entry(name.clone()).or_insert(Reader { reads: 0, last: now });
        reader.last = now;
        change(reader);
    }

    /// A participant has joined.
    pub fn joined(&self, name: &Name) {
        self.change(name, |_| {});
    }

    /// A participant reads, until what is returned is dropped.
    pub fn reading(&self, name: &Name) -> Reading<'_> {
        self.change(name, |reader| reader.reads += 1);
        Reading { presence: self, name: name.clone() }
    }

    /// A participant has left.
    pub fn left(&self, name: &Name) {
        self.readers().remove(name);
    }

    /// Of those who should be here, the ones that have been silent for too long. Those who are not
    /// known begin to be watched; those who are elsewhere are forgotten.
    fn silent(&self, here: &HashSet<Name>, now: Instant) -> Vec<Name> {
        let mut readers = self.readers();
        readers.retain(|name, reader| reader.reads > 0 || here.contains(name));
        let is_silent = |name: &&Name| {
            let start = || Reader { reads: 0, last: now };
            let reader = readers.entry((*name).clone()).or_insert_with(start);
            reader.reads == 0 && now.duration_since(reader.last) > SILENCE_MAX
        };
        here.iter().filter(is_silent).cloned().collect()
    }
}

impl<M: MessageStore> Chat<M> {
    /// Has those leave who do not read any more, here and at instances that have ended without a
    /// word, until `shutdown`.
    pub async fn watch_presence(self, shutdown: CancellationToken) {
        let mut ticks = interval(PRESENCE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Since when each instance has been gone.
        let mut gone: HashMap<String, Instant> = HashMap::new();
        for look in 0_u32.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let online = self.store.online();
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                online.into_iter().partition(|online| *online.instance == *self.instance);
            let here = here.into_iter().map(|online| online.name).collect();
            for name in self.presence.silent(&here, Instant::now()) {
                self.lapse(name, &self.instance).await;
            }
            if look.is_multiple_of(PRESENCE_LOOKS) {
                let instances: HashSet<_> =
                    elsewhere.iter().map(|it| it.instance.clone()).collect();
                gone.retain(|instance, _| instances.contains(instance));
                for instance in instances {
                    if self.store.is_alive(&instance).await {
                        gone.remove(&instance);
                    } else if let Entry::Vacant(new) = gone.entry(instance) {
                        self.tell_gone(new.key()).await;
                        new.insert(Instant::now());
                    }
                }
            }
            for online in elsewhere {
                let since = gone.get(&online.instance);
                if since.is_some_and(|since| since.elapsed() > SILENCE_MAX) {
                    self.lapse(online.name, &online.instance).await;
                }
            }
        }
    }

    async fn lapse(&self, name: Name, instance: &str) {
        let instance = Some(instance.to_owned());
        let command = Command::Leave { name: name.clone(), instance };
        if let Ok(Commanded::Stored(_)) = self.store.command(command).await {
            info!(action = "chat_leave", result = "success", %name, reason = "silent");
            self.presence.left(&name);
        }
    }

    async fn tell_gone(&self, instance: &str) {
        let text = format!("the server {instance} is gone");
        let (subject, word) = (format!("server {instance}"), "gone".to_owned());
        // Others tell it, too, and the first one counts.
        let _ = self.store.command(Command::Event { subject, word, text }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn who_has_not_read_for_too_long_is_silent() {
        let presence = Presence::default();
        let here: HashSet<_> = ["ana", "leo", "eva"].map(name).into();
        presence.joined(&name("ana"));
        let reading = presence.reading(&name("leo"));
        let later = Instant::now() + SILENCE_MAX + Duration::from_millis(10);
        assert_eq!(presence.silent(&here, Instant::now()), [], "eva was not known before");
        let mut silent = presence.silent(&here, later);
        silent.sort();
        assert_eq!(silent, ["ana", "eva"].map(name), "leo reads");
        drop(reading);
        let is_silent = |silent: Vec<Name>, who| silent.contains(&name(who));
        assert!(is_silent(presence.silent(&here, later + SILENCE_MAX), "leo"));
        assert!(presence.silent(&HashSet::new(), later).is_empty());
        assert!(presence.readers().is_empty(), "all of them are elsewhere");
    }
}
