//! The address of each server of a run, and since when the server is available.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The address of each server, and since when it is available.
type Servers = Vec<(SocketAddr, Option<Instant>)>;

/// All servers by their places. Cheap to clone: all clones share one list.
#[derive(Debug, Clone, Default)]
pub struct ServerRegistry(Arc<Mutex<Servers>>);

impl ServerRegistry {
    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many servers there are, available or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.servers().len()
    }

    /// The address of the server at `place`.
    #[must_use]
    pub fn address(&self, place: usize) -> Option<SocketAddr> {
        self.servers().get(place).map(|(address, _)| *address)
    }

    /// The server at `place` is dead or paused.
    pub fn set_unavailable(&self, place: usize) {
        if let Some((_, available_since)) = self.servers().get_mut(place) {
            *available_since = None;
        }
    }

    /// The server at `place` runs, or runs again, at `address`. Servers are added in the order of
    /// their places.
    pub fn set_available(&self, place: usize, address: SocketAddr) {
        let mut servers = self.servers();
        let server = (address, Some(Instant::now()));
        match servers.get_mut(place) {
            Some(known) => *known = server,
            None => servers.push(server),
        }
    }

    /// Since when the server at `place` is available; `None` while it is not.
    #[must_use]
    pub fn available_since(&self, place: usize) -> Option<Instant> {
        self.servers().get(place)?.1
    }
}
