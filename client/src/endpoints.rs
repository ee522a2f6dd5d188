//! Which instance to try next: fresh look-ups of the servers' names, spread over all agencies.
//!
//! Connects to nothing.
//!
//! An agency's first choice is its number's place in the sorted list of addresses, so that agencies
//! spread evenly however few they are. After a failure the others follow in random order, so that
//! the agencies of a dead instance do not all flock to the same next one.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::AgencyId;
use rand::seq::IndexedRandom as _;

/// The instances behind the servers' names.
#[derive(Debug)]
pub struct Endpoints {
    names: Vec<String>,
    /// The agency's place among all agencies.
    index: usize,
    known: Vec<SocketAddr>,
    has_chosen: bool,
    /// Chosen since anything last went well.
    tried: BTreeSet<SocketAddr>,
    last: Option<SocketAddr>,
}

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The instance's address.
    pub address: SocketAddr,
    /// Whether all of them have been tried since anything last went well, so that it is time to
    /// pause before this one.
    pub is_new_round: bool,
}

impl Endpoints {
    /// The instances behind `names`, each a `host:port`, as `agency` tries them.
    #[must_use]
    pub fn new(names: Vec<String>, agency: AgencyId) -> Self {
        let (known, has_chosen, tried, last) = (Vec::new(), false, BTreeSet::new(), None);
        Self { names, index: agency.index(), known, has_chosen, tried, last }
    }

    /// Looks the names up and chooses.
    ///
    /// # Errors
    /// None of the names has an address; tells why for the last one that failed.
    pub async fn next(&mut self) -> io::Result<Choice> {
        let addresses = look_up(&self.names).await?;
        let choice = self.choose(&addresses);
        self.known = addresses;
        choice.ok_or_else(|| io::Error::other("the names have no addresses"))
    }

    /// The addresses that the names had at the last look.
    #[must_use]
    pub fn known(&self) -> &[SocketAddr] {
        &self.known
    }

    /// The error of a look-up that was given up after `limit`.
    #[must_use]
    pub fn not_found_in(&self, limit: Duration) -> io::Error {
        let names = self.names.join(", ");
        let text = format!("look up {names}: no answer in {limit:?}");
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    /// Leaves `address` for the last of this round, since it failed after it had been chosen.
    pub fn failed(&mut self, address: SocketAddr) {
        self.tried.insert(address);
        self.last = Some(address);
    }

    /// Takes back that `address` was tried: it is as good as any other.
    pub fn is_there(&mut self, address: SocketAddr) {
        self.tried.remove(&address);
    }

    /// Forgets what failed: something has gone well.
    pub fn went_well(&mut self) {
        self.tried.clear();
    }

    /// Chooses one of `addresses`, which are sorted.
    fn choose(&mut self, addresses: &[SocketAddr]) -> Option<Choice> {
        let known = addresses.len();
        let mut left: Vec<SocketAddr> =
            addresses.iter().filter(|address| !self.tried.contains(address)).copied().collect();
        let is_new_round = left.is_empty();
        if is_new_round {
            self.tried.clear();
            left =
                addresses.iter().filter(|a| known < 2 || Some(**a) != self.last).copied().collect();
        }
        let address = if self.has_chosen {
            *left.choose(&mut rand::rng())?
        } else {
            *addresses.get(self.index % known.max(1))?
        };
        self.has_chosen = true;
        self.tried.insert(address);
        self.last = Some(address);
        Some(Choice { address, is_new_round })
    }
}

/// The addresses of all names, sorted. Of a name that has IPv4 addresses, those alone: glibc
/// sorts IPv6 addresses, and everything would land on one.
async fn look_up(names: &[String]) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = BTreeSet::new();
    let mut failure = None;
    for name in names {
        match tokio::net::lookup_host(name).await {
            Ok(found) => {
                let found: Vec<SocketAddr> = found.collect();
                let has_ipv4 = found.iter().any(SocketAddr::is_ipv4);
                addresses.extend(found.into_iter().filter(|a| a.is_ipv4() || !has_ipv4));
            }
            Err(error) => {
                failure = Some(io::Error::new(error.kind(), format!("look up {name}: {error}")));
            }
        }
    }
    match failure {
        Some(failure) if addresses.is_empty() => Err(failure),
        _ => Ok(addresses.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|host| SocketAddr::from(([127, 0, 0, host], 12345))).collect()
    }

    fn endpoints(agency: u32) -> Endpoints {
        Endpoints::new(Vec::new(), AgencyId::new(agency).unwrap())
    }

    #[test]
    fn first_choices_are_spread_evenly() {
        let all = addresses(3);
        let mut counts = [0; 3];
        for agency in 1..=30 {
            let choice = endpoints(agency).choose(&all).unwrap();
            counts[all.iter().position(|address| *address == choice.address).unwrap()] += 1;
            assert!(!choice.is_new_round);
        }
        assert_eq!(counts, [10, 10, 10]);
    }

    #[test]
    fn every_other_instance_is_tried_before_one_is_tried_again() {
        let all = addresses(5);
        let mut endpoints = endpoints(2);
        for round in 0..4 {
            let choices: Vec<Choice> = (0..5).map(|_| endpoints.choose(&all).unwrap()).collect();
            let distinct: BTreeSet<_> = choices.iter().map(|choice| choice.address).collect();
            assert_eq!(distinct.len(), 5);
            let news: Vec<bool> = choices.iter().map(|choice| choice.is_new_round).collect();
            assert_eq!(news, [round > 0, false, false, false, false]);
        }
    }

    #[test]
    fn the_one_that_failed_last_is_not_the_next() {
        let all = addresses(2);
        let mut endpoints = endpoints(1);
        let mut last = None;
        for _ in 0..20 {
            let choice = endpoints.choose(&all).unwrap();
            assert_ne!(Some(choice.address), last);
            last = Some(choice.address);
        }
    }

    #[test]
    fn a_single_instance_is_tried_again_in_a_new_round() {
        let mut endpoints = endpoints(4);
        let news = [0, 1, 2].map(|_| endpoints.choose(&addresses(1)).unwrap().is_new_round);
        assert_eq!(news, [false, true, true]);
        assert_eq!(endpoints.choose(&[]), None);
    }
}
