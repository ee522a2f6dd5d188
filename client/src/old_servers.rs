//! Whether the servers are ones that do not know `AgencyStatus`, told by what they do with it.
//!
//! A server that restarts, or whatever stands before it, closes a connection without an answer
//! too. So it takes several such closes in a row, which go on for longer than a server takes to
//! start again, at several servers where there are several; and one proper answer rules it out for
//! good.
//!
//! **Invariant**: nothing but a clean close counts as one. A server that cannot be reached, or does
//! not answer, says nothing of the others; of any other fault nothing follows, and all begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Fault;
use crate::limits::{OLD_CLOSES_MIN, OLD_SERVERS_MIN};

/// What was seen.
#[derive(Debug)]
pub(crate) struct OldServers {
    /// Whether the settings allow for such servers.
    is_allowed: bool,
    /// For how long a server must close connections.
    lasting: Duration,
    is_ruled_out: bool,
    closing: BTreeMap<SocketAddr, Closes>,
    /// Servers that could not be reached, or did not answer, when they were last tried.
    away: BTreeSet<SocketAddr>,
    /// Whether a server said that it knows no such packet.
    is_unknown: bool,
}

/// The closes of a server in a row, without anything else between them.
#[derive(Debug, Clone, Copy)]
struct Closes {
    count: usize,
    first: Instant,
    last: Instant,
}

impl OldServers {
    pub(crate) fn new(is_allowed: bool, lasting: Duration) -> Self {
        let (closing, away) = (BTreeMap::new(), BTreeSet::new());
        Self { is_allowed, lasting, is_ruled_out: false, closing, away, is_unknown: false }
    }

    /// Takes note that `address`, one of `known`, closed the connection `now` without a byte; gives
    /// whether that makes them old servers.
    pub(crate) fn closed(
        &mut self,
        address: SocketAddr,
        known: &[SocketAddr],
        now: Instant,
    ) -> bool {
        // Addresses that are none any more say nothing.
        self.closing.retain(|address, _| known.contains(address));
        self.away.retain(|address| known.contains(address));
        self.away.remove(&address);
        let new = Closes { count: 0, first: now, last: now };
        let closes = self.closing.entry(address).or_insert(new);
        (closes.count, closes.last) = (closes.count + 1, now);
        let is_old = |closes: &&Closes| {
            closes.count >= OLD_CLOSES_MIN && closes.last - closes.first >= self.lasting
        };
        let old = self.closing.values().filter(is_old).count();
        let there = known.len().saturating_sub(self.away.len()).max(1);
        self.is_possible() && old >= there.min(OLD_SERVERS_MIN)
    }

    /// Takes note of what went wrong with `address`.
    pub(crate) fn failed(&mut self, address: SocketAddr, fault: &Fault) {
        match fault {
            Fault::Connect(_) | Fault::ConnectTimeout(_) | Fault::AnswerTimeout(_) => {
                self.closing.remove(&address);
                self.away.insert(address);
            }
            _ => self.forget(),
        }
    }

    /// Takes note that a server said that it knows no such packet; gives whether that makes them
    /// old servers.
    pub(crate) fn unknown(&mut self) -> bool {
        self.is_unknown = true;
        self.is_possible()
    }

    /// Something else has happened: what was seen is no row of closes.
    pub(crate) fn forget(&mut self) {
        self.closing.clear();
        self.away.clear();
        self.is_unknown = false;
    }

    /// A server has answered: whatever some of them do, bets go by `StoreRows` from here on.
    pub(crate) fn rule_out(&mut self) {
        self.is_ruled_out = true;
    }

    /// What a person should know if that was the end of it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let is_suspected = self.is_unknown || !self.closing.is_empty();
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

    const LASTING: Duration = Duration::from_secs(3);

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, host], 12345))
    }

    /// The first so many addresses.
    fn known(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(address).collect()
    }

    fn servers(is_allowed: bool) -> OldServers {
        OldServers::new(is_allowed, LASTING)
    }

    /// Which of these closes, each of one of `known` servers and a second after the one before,
    /// makes them old, from 1.
    fn old_at(servers: &mut OldServers, known: u8, hosts: &[u8]) -> Option<u64> {
        old_after(servers, Instant::now(), known, hosts)
    }

    fn old_after(servers: &mut OldServers, start: Instant, count: u8, hosts: &[u8]) -> Option<u64> {
        (1..).zip(hosts).find_map(|(second, host)| {
            let now = start + Duration::from_secs(second);
            servers.closed(address(*host), &known(count), now).then_some(second)
        })
    }

    #[test]
    fn it_takes_closes_that_go_on_and_nothing_else_between_them() {
        let mut servers = servers(true);
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1]), None);
        servers.failed(address(1), &Fault::Cut);
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1, 1]), Some(4));
    }

    #[test]
    fn it_takes_three_closes_however_long_they_take() {
        let (mut servers, now) = (servers(true), Instant::now());
        let times = [now, now + LASTING, now + 2 * LASTING];
        assert_eq!(
            times.map(|now| servers.closed(address(1), &known(1), now)),
            [false, false, true]
        );
    }

    #[test]
    fn many_closes_of_many_servers_within_a_moment_make_none_old() {
        let (mut servers, now) = (servers(true), Instant::now());
        assert!((1..=50).all(|close| !servers.closed(address(close % 5 + 1), &known(5), now)));
    }

    #[test]
    fn it_takes_different_servers_where_there_are_some() {
        assert_eq!(old_at(&mut servers(true), 9, &[1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]), None);
        assert_eq!(old_at(&mut servers(true), 9, &[1, 2, 3, 1, 2, 3, 1, 2, 3]), Some(9));
        assert_eq!(old_at(&mut servers(true), 2, &[1, 2, 1, 2, 1, 2]), Some(6));
    }

    #[test]
    fn those_that_are_away_say_nothing_of_the_others() {
        let refused = || Fault::Connect(std::io::ErrorKind::ConnectionRefused.into());
        let silent = || Fault::AnswerTimeout(LASTING);
        let (mut servers, start) = (servers(true), Instant::now());
        let later = start + LASTING;
        servers.failed(address(2), &refused());
        servers.failed(address(3), &silent());
        assert_eq!(old_after(&mut servers, start, 3, &[1, 1, 1]), None);
        servers.failed(address(2), &refused());
        assert_eq!(old_after(&mut servers, later, 3, &[1]), Some(1), "it has gone on meanwhile");
        // One that is back is one more that has to be old.
        assert_eq!(old_after(&mut servers, later, 3, &[2, 1]), None);
    }

    #[test]
    fn addresses_that_are_none_any_more_count_for_nothing() {
        let (mut servers, start) = (servers(true), Instant::now());
        for host in [4, 5] {
            servers.failed(address(host), &Fault::ConnectTimeout(LASTING));
        }
        let all = [1, 4, 5].map(address);
        let mut close =
            |known: &[SocketAddr], after| servers.closed(address(1), known, start + after);
        assert!(!close(&all, LASTING) && !close(&all, LASTING * 2 - LASTING / 2));
        // Two others are there instead, and have not been asked.
        assert!(!close(&known(3), LASTING * 3));
        assert!(close(&known(1), LASTING * 4), "it is the only one");
    }

    #[test]
    fn one_that_was_away_has_closed_nothing_yet() {
        let mut servers = servers(true);
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1]), None);
        servers.failed(address(1), &Fault::ConnectTimeout(LASTING));
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1, 1]), Some(4));
    }

    #[test]
    fn a_server_that_says_so_is_believed_at_once() {
        assert!(servers(true).unknown());
    }

    #[test]
    fn one_answer_rules_it_out() {
        let mut servers = servers(true);
        servers.rule_out();
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1, 1]), None);
        assert!(!servers.unknown());
    }

    #[test]
    fn settings_that_do_not_allow_it_are_named() {
        let mut servers = servers(false);
        assert_eq!(servers.hint(), None);
        assert_eq!(old_at(&mut servers, 1, &[1, 1, 1, 1]), None);
        assert!(servers.hint().unwrap().contains("CLI_FALLBACK"));
        servers.forget();
        assert_eq!(servers.hint(), None);
        assert!(!servers.unknown() && servers.hint().is_some());
    }
}
