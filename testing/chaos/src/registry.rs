//! Where the servers of a run are, and since when each of them is awake.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All servers by their places. Cheap to clone: all clones are one.
#[derive(Debug, Clone, Default)]
pub struct ServerRegistry(Arc<Mutex<Vec<Member>>>);

#[derive(Debug, Clone, Copy)]
struct Member {
    address: SocketAddr,
    awake_since: Option<Instant>,
}

impl ServerRegistry {
    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more server, at the next place.
    pub fn add(&self, address: SocketAddr) {
        self.members().push(Member { address, awake_since: Some(Instant::now()) });
    }

    /// Where all of them are.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members().iter().map(|member| member.address).collect()
    }

    /// Where the server at `place` is.
    #[must_use]
    pub fn address(&self, place: usize) -> Option<SocketAddr> {
        self.members().get(place).map(|member| member.address)
    }

    /// The server at `place` is dead or paused.
    pub fn sleeps(&self, place: usize) {
        if let Some(member) = self.members().get_mut(place) {
            member.awake_since = None;
        }
    }

    /// The server at `place` runs, or runs on, at `address`.
    pub fn wakes(&self, place: usize, address: SocketAddr) {
        if let Some(member) = self.members().get_mut(place) {
            *member = Member { address, awake_since: Some(Instant::now()) };
        }
    }

    /// Since when the server at `place` is awake; `None` while it is not.
    #[must_use]
    pub fn awake_since(&self, place: usize) -> Option<Instant> {
        self.members().get(place)?.awake_since
    }
}
