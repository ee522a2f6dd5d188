//! Whether the servers are ones that do not know `AgencyStatus`, told by how they end.
//!
//! A server that restarts ends a connection without an answer too. So it takes several such ends
//! in a row, at different instances where there are several, and one right answer rules it out.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// How many connections in a row must end so, at as many instances if there are so many.
const ENDS: usize = 3;

/// The ends that were seen.
#[derive(Debug, Default)]
pub(crate) struct OldServers {
    is_ruled_out: bool,
    count: usize,
    addresses: BTreeSet<SocketAddr>,
}

impl OldServers {
    /// Takes note that `address`, one of `known`, ended the connection or knew no such packet;
    /// gives whether that makes them old servers.
    pub(crate) fn ended(&mut self, address: Option<SocketAddr>, known: usize) -> bool {
        self.count += 1;
        self.addresses.extend(address);
        let is_everywhere = self.addresses.len() >= known.min(ENDS);
        !self.is_ruled_out && self.count >= ENDS && is_everywhere
    }

    /// Something else has happened: what was seen is no row of such ends.
    pub(crate) fn forget(&mut self) {
        self.count = 0;
        self.addresses.clear();
    }

    /// A server has answered: whatever some of them do, bets go by `StoreRows`.
    pub(crate) fn rule_out(&mut self) {
        self.is_ruled_out = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, host], 12345)))
    }

    #[test]
    fn it_takes_three_ends_in_a_row() {
        let mut servers = OldServers::default();
        assert_eq!([1, 1, 1].map(|host| servers.ended(address(host), 1)), [false, false, true]);
        servers.forget();
        assert!(!servers.ended(address(1), 1));
    }

    #[test]
    fn it_takes_different_servers_where_there_are_some() {
        let mut servers = OldServers::default();
        let ends = [1, 1, 1, 2, 3].map(|host| servers.ended(address(host), 9));
        assert_eq!(ends, [false, false, false, false, true]);
    }

    #[test]
    fn one_answer_rules_it_out() {
        let mut servers = OldServers::default();
        servers.rule_out();
        assert_eq!([1, 2, 3, 4].map(|host| servers.ended(address(host), 4)), [false; 4]);
    }
}
