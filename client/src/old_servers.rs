//! Whether the servers are ones that do not know `AgencyStatus`, told by what they do with it.
//!
//! A server that restarts, or whatever stands before it, closes a connection without an answer
//! too. So it takes several such closes in a row, for longer than a server takes to start again and
//! at different servers where there are several, and one proper answer rules it out for good.
//!
//! **Invariant**: nothing but a clean close counts as one. A reset, a refusal or a time-out is a
//! fault, of which nothing follows.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::OLD_CLOSES_MIN;

/// What was seen.
#[derive(Debug)]
pub(crate) struct OldServers {
    /// Whether the settings allow for such servers.
    is_allowed: bool,
    /// For how long they must close connections.
    lasting: Duration,
    is_ruled_out: bool,
    /// Closes in a row, without anything else between them.
    closes: usize,
    /// When the first of them was.
    since: Option<Instant>,
    addresses: BTreeSet<SocketAddr>,
    /// Whether a server said that it knows no such packet.
    is_unknown: bool,
}

impl OldServers {
    pub(crate) fn new(is_allowed: bool, lasting: Duration) -> Self {
        let (is_ruled_out, is_unknown) = (false, false);
        let (closes, since, addresses) = (0, None, BTreeSet::new());
        Self { is_allowed, lasting, is_ruled_out, closes, since, addresses, is_unknown }
    }

    /// Takes note that `address`, one of `known`, closed the connection `now` without a byte; gives
    /// whether that makes them old servers.
    pub(crate) fn closed(
        &mut self,
        address: Option<SocketAddr>,
        known: usize,
        now: Instant,
    ) -> bool {
        self.closes += 1;
        let since = *self.since.get_or_insert(now);
        self.addresses.extend(address);
        let is_everywhere = self.addresses.len() >= known.min(OLD_CLOSES_MIN);
        let is_lasting = self.closes >= OLD_CLOSES_MIN && now.duration_since(since) >= self.lasting;
        self.is_possible() && is_lasting && is_everywhere
    }

    /// Takes note that a server said that it knows no such packet; gives whether that makes them
    /// old servers.
    pub(crate) fn unknown(&mut self) -> bool {
        self.is_unknown = true;
        self.is_possible()
    }

    /// Something else has happened: what was seen is no row of closes.
    pub(crate) fn forget(&mut self) {
        (self.closes, self.since) = (0, None);
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

    const LASTING: Duration = Duration::from_secs(3);

    fn servers(is_allowed: bool) -> OldServers {
        OldServers::new(is_allowed, LASTING)
    }

    /// Whether each close, of one of `known` servers and a second after the one before, makes them
    /// old.
    fn closes<const N: usize>(servers: &mut OldServers, known: usize, hosts: [u8; N]) -> [bool; N] {
        let mut now = Instant::now();
        hosts.map(|host| {
            now += Duration::from_secs(1);
            servers.closed(address(host), known, now)
        })
    }

    #[test]
    fn it_takes_closes_that_go_on_and_nothing_else_between_them() {
        let mut servers = servers(true);
        assert_eq!(closes(&mut servers, 1, [1, 1, 1]), [false; 3]);
        servers.forget();
        assert_eq!(closes(&mut servers, 1, [1, 1, 1, 1]), [false, false, false, true]);
    }

    #[test]
    fn it_takes_three_closes_however_long_they_take() {
        let mut servers = servers(true);
        let now = Instant::now();
        let times = [now, now + LASTING, now + 2 * LASTING];
        assert_eq!(times.map(|now| servers.closed(address(1), 1, now)), [false, false, true]);
    }

    #[test]
    fn many_closes_of_many_servers_within_a_moment_make_none_old() {
        let (mut servers, now) = (servers(true), Instant::now());
        assert!((1..=50).all(|host| !servers.closed(address(host), 50, now)));
    }

    #[test]
    fn it_takes_different_servers_where_there_are_some() {
        let ends = closes(&mut servers(true), 9, [1, 1, 1, 1, 2, 3]);
        assert_eq!(ends, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_server_that_says_so_is_believed_at_once() {
        assert!(servers(true).unknown());
    }

    #[test]
    fn one_answer_rules_it_out() {
        let mut servers = servers(true);
        servers.rule_out();
        assert_eq!(closes(&mut servers, 4, [1, 2, 3, 4]), [false; 4]);
        assert!(!servers.unknown());
    }

    #[test]
    fn settings_that_do_not_allow_it_are_named() {
        let mut servers = servers(false);
        assert_eq!(servers.hint(), None);
        assert_eq!(closes(&mut servers, 1, [1, 1, 1, 1]), [false; 4]);
        assert!(servers.hint().unwrap().contains("CLI_FALLBACK"));
        servers.forget();
        assert_eq!(servers.hint(), None);
        assert!(!servers.unknown() && servers.hint().is_some());
    }
}
