//! Which instance to try next. Resolves the servers' names before each choice, and spreads agencies
//! over instances. Opens no connection.
//!
//! An agency first chooses the address at its number's place in the sorted list, so that agencies
//! are spread evenly even if they are few. After a failure the others follow in random order, so
//! that the agencies of a dead instance are spread over all others.
//!
//! With CLI_PREFER=nearest it is the instance whose address has the longest prefix in common with one
//! of this machine's, and of several such the one with the lowest port; then the next one.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::AgencyId;
use rand::seq::IndexedRandom as _;
use tokio::time::timeout;

/// The instances behind the servers' names.
#[derive(Debug)]
pub struct Endpoints {
    names: Vec<String>,
    /// The agency's place among all agencies, from 0.
    index: usize,
    known: Vec<SocketAddr>,
    /// What was chosen since the last success.
    tried: BTreeSet<SocketAddr>,
    last: Option<SocketAddr>,
    /// The addresses of this machine, if the nearest instance is preferred.
    near: Option<Vec<IpAddr>>,
}

/// Which instance is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// One for each agency in turn, then the others in random order.
    Shuffle,
    /// The nearest one, then the next one.
    Nearest,
}

impl fmt::Display for Prefer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shuffle => "shuffle",
            Self::Nearest => "nearest",
        })
    }
}

/// How many leading bits two addresses have in common; 0 if they are of different kinds.
fn common_prefix(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

/// What to try next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The instance's address.
    pub address: SocketAddr,
    /// Whether every instance was tried since the last success. Then it is time for a pause.
    pub is_new_round: bool,
}

impl Endpoints {
    /// The instances behind `names`, each a `host:port`, in the order for `agency`.
    #[must_use]
    pub fn new(names: Vec<String>, agency: AgencyId) -> Self {
        let (known, tried, last) = (Vec::new(), BTreeSet::new(), None);
        Self { names, index: agency.index(), known, tried, last, near: None }
    }

    /// The same in the order that is preferred. If the system does not tell the addresses of this
    /// machine, all instances are equally near.
    #[must_use]
    pub fn preferring(mut self, prefer: Prefer) -> Self {
        let addresses = || if_addrs::get_if_addrs().unwrap_or_default();
        let near = || addresses().into_iter().map(|found| found.ip()).collect();
        self.near = (prefer == Prefer::Nearest).then(near);
        self
    }

    /// Looks up the names, within `limit`, and chooses an instance.
    ///
    /// # Errors
    /// No name has an address. The error is that of the last name that failed.
    pub async fn next(&mut self, limit: Duration) -> io::Result<Choice> {
        self.known = timeout(limit, look_up(&self.names)).await.unwrap_or_else(|_| {
            let text = format!("look up {}: no answer in {limit:?}", self.names.join(", "));
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })?;
        self.choose().ok_or_else(|| io::Error::other("the names have no addresses"))
    }

    /// The addresses that the last look-up found, sorted.
    #[must_use]
    pub fn known(&self) -> &[SocketAddr] {
        &self.known
    }

    /// Notes that `address` was tried, so that it is the last choice of this round.
    pub fn note_tried(&mut self, address: SocketAddr) {
        self.tried.insert(address);
        self.last = Some(address);
    }

    /// Forgets that `address` was tried.
    pub fn clear_tried(&mut self, address: SocketAddr) {
        self.tried.remove(&address);
    }

    /// Forgets what was tried, after a success.
    pub fn clear_all_tried(&mut self) {
        self.tried.clear();
    }

    fn choose(&mut self) -> Option<Choice> {
        let all = &self.known;
        let is_new_round = all.iter().all(|address| self.tried.contains(address));
        if is_new_round {
            self.tried.clear();
        }
        let address = if let Some(near) = &self.near {
            let distance = |address: &&SocketAddr| {
                let prefix = near.iter().map(|here| common_prefix(*here, address.ip())).max();
                (u32::MAX - prefix.unwrap_or(0), address.port(), **address)
            };
            all.iter().filter(|address| !self.tried.contains(address)).min_by_key(distance)?
        } else if self.last.is_some() {
            let is_last = |address| is_new_round && all.len() > 1 && Some(address) == self.last;
            let left = all.iter().filter(|a| !self.tried.contains(a) && !is_last(**a));
            *left.collect::<Vec<_>>().choose(&mut rand::rng())?
        } else {
            all.get(self.index % all.len().max(1))?
        };
        let choice = Choice { address: *address, is_new_round };
        self.note_tried(choice.address);
        Some(choice)
    }
}

/// The addresses of all names, sorted. If a name has IPv4 addresses, only those: glibc sorts IPv6
/// addresses, and all agencies would choose the first one.
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

    fn endpoints(agency: u32, known: Vec<SocketAddr>) -> Endpoints {
        let new = Endpoints::new(Vec::new(), AgencyId::new(agency).unwrap());
        Endpoints { known, ..new }
    }

    #[test]
    fn first_choices_are_spread_evenly() {
        let all = addresses(3);
        let mut counts = [0; 3];
        for agency in 1..=30 {
            let choice = endpoints(agency, all.clone()).choose().unwrap();
            counts[all.iter().position(|address| *address == choice.address).unwrap()] += 1;
            assert!(!choice.is_new_round);
        }
        assert_eq!(counts, [10, 10, 10]);
    }

    #[test]
    fn every_other_instance_is_tried_before_one_is_tried_again() {
        for count in [1, 2, 5] {
            let mut endpoints = endpoints(2, addresses(count));
            let mut last = None;
            for round in 0..10 {
                let choices: Vec<Choice> =
                    (0..count).map(|_| endpoints.choose().unwrap()).collect();
                let distinct: BTreeSet<_> = choices.iter().map(|choice| choice.address).collect();
                assert_eq!(distinct.len(), choices.len());
                let is_again = last == Some(choices[0].address);
                assert!(count == 1 || !is_again, "the one that failed last");
                assert_eq!(choices[0].is_new_round, round > 0);
                assert!(choices[1..].iter().all(|choice| !choice.is_new_round));
                last = choices.last().map(|choice| choice.address);
            }
        }
        assert_eq!(endpoints(2, Vec::new()).choose(), None);
    }

    #[test]
    fn the_nearest_is_the_longest_common_prefix_and_then_the_lowest_port() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["10.9.0.1:7", "10.1.2.4:9", "192.168.0.1:1", "10.1.2.4:8"].map(of);
        let mut endpoints = endpoints(1, all.to_vec());
        endpoints.near = Some(vec!["10.1.2.3".parse().unwrap(), "::1".parse().unwrap()]);
        let chosen: Vec<_> = (0..4).map(|_| endpoints.choose().unwrap().address).collect();
        assert_eq!(chosen, ["10.1.2.4:8", "10.1.2.4:9", "10.9.0.1:7", "192.168.0.1:1"].map(of));
        let again = endpoints.choose().unwrap();
        assert!(again.is_new_round && again.address == of("10.1.2.4:8"));
    }
}
