//! Whether the servers are ones that do not know `AgencyStatus`, told by what they do with it.
//!
//! A server that restarts, or whatever stands before it, closes a connection without an answer
//! too. So it takes several such closes in a row, with pauses between them and at different
//! servers where there are several, and one proper answer rules it out for good.
//!
//! **Invariant**: nothing but a clean close counts as one. A reset, a refusal or a time-out is a
//! fault, of which nothing follows.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::limits::{OLD_CLOSES_MIN, OLD_PAUSES_MIN};

/// What was seen.
#[derive(Debug)]
pub(crate) struct OldServers {
    /// Whether the settings allow for such servers.
    is_allowed: bool,
    is_ruled_out: bool,
    /// Closes in a row, without anything else between them.
    closes: usize,
    /// Pauses since the first of them.
    pauses: usize,
    addresses: BTreeSet<SocketAddr>,
    /// Whether a server said that it knows no such packet.
    is_unknown: bool,
}

impl OldServers {
    pub(crate) fn new(is_allowed: bool) -> Self {
        let (is_ruled_out, is_unknown) = (false, false);
        let addresses = BTreeSet::new();
        Self { is_allowed, is_ruled_out, closes: 0, pauses: 0, addresses, is_unknown }
    }

    /// Takes note that `address`, one of `known`, closed the connection without a byte; gives
    /// whether that makes them old servers.
    pub(crate) fn closed(&mut self, address: Option<SocketAddr>, known: usize) -> bool {
        self.closes += 1;
        self.addresses.extend(address);
        let is_everywhere = self.addresses.len() >= known.min(OLD_CLOSES_MIN);
        let is_lasting = self.closes >= OLD_CLOSES_MIN && self.pauses >= OLD_PAUSES_MIN;
        self.is_possible() && is_lasting && is_everywhere
    }

    /// Takes note that a server said that it knows no such packet; gives whether that makes them
    /// old servers.
    pub(crate) fn unknown(&mut self) -> bool {
        self.is_unknown = true;
        self.is_possible()
    }

    /// Time has passed in which a server can have come back.
    pub(crate) fn paused(&mut self) {
        self.pauses += usize::from(self.closes > 0);
    }

    /// Something else has happened: what was seen is no row of closes.
    pub(crate) fn forget(&mut self) {
        (self.closes, self.pauses) = (0, 0);
        self.addresses.clear();
        self.is_unknown = false;
    }

    /// A server has answered: whatever some of them do, bets go by `StoreRows` from here on.
    pub(crate) fn rule_out(&mut self) {
        self.is_ruled_out = true;
    }

    /// What a person should know if that was the end of it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let is_suspected = self.is_unknown || self.closes > 0;
        (is_suspected && !self.is_allowed && !self.is_ruled_out).then_some(
            "servers of the reference system do that to AgencyStatus, which they do not know: \
             for those set CLI_FALLBACK=yes",
        )
    }

    fn is_possible(&self) -> bool {
        self.is_allowed && !self.is_ruled_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, host], 12345)))
    }

    /// Whether each close, of one of `known` servers and with a pause after it, makes them old.
    fn closes<const N: usize>(servers: &mut OldServers, known: usize, hosts: [u8; N]) -> [bool; N] {
        hosts.map(|host| {
            let is_old = servers.closed(address(host), known);
            servers.paused();
            is_old
        })
    }

    #[test]
    fn it_takes_three_closes_in_a_row() {
        let mut servers = OldServers::new(true);
        assert_eq!(closes(&mut servers, 1, [1, 1]), [false, false]);
        servers.forget();
        assert_eq!(closes(&mut servers, 1, [1, 1, 1]), [false, false, true]);
    }

    #[test]
    fn it_takes_two_pauses_between_them() {
        let mut servers = OldServers::new(true);
        servers.paused();
        servers.paused();
        let mut close = |host| servers.closed(address(host), 3);
        assert_eq!([1, 2, 3].map(&mut close), [false, false, false]);
        servers.paused();
        assert!(!servers.closed(address(1), 3));
        servers.paused();
        assert!(servers.closed(address(2), 3));
    }

    #[test]
    fn it_takes_different_servers_where_there_are_some() {
        let ends = closes(&mut OldServers::new(true), 9, [1, 1, 1, 2, 3]);
        assert_eq!(ends, [false, false, false, false, true]);
    }

    #[test]
    fn a_server_that_says_so_is_believed_at_once() {
        assert!(OldServers::new(true).unknown());
    }

    #[test]
    fn one_answer_rules_it_out() {
        let mut servers = OldServers::new(true);
        servers.rule_out();
        assert_eq!(closes(&mut servers, 4, [1, 2, 3, 4]), [false; 4]);
        assert!(!servers.unknown());
    }

    #[test]
    fn settings_that_do_not_allow_it_are_named() {
        let mut servers = OldServers::new(false);
        assert_eq!(servers.hint(), None);
        assert_eq!(closes(&mut servers, 1, [1, 1, 1, 1]), [false; 4]);
        assert!(servers.hint().unwrap().contains("CLI_FALLBACK"));
        servers.forget();
        assert_eq!(servers.hint(), None);
        assert!(!servers.unknown() && servers.hint().is_some());
    }
}
