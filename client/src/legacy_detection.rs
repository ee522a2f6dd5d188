//! Legacy detection: decides whether the servers are legacy servers, which close the connection
//! on `AgencyStatus` because they do not know it.
//!
//! A restarting server, or a proxy before it, closes connections without an answer, too. So the
//! decision needs several such closes in a row, over a longer time than a server needs to start,
//! at several servers if there are several. One proper answer excludes legacy servers for good.
//!
//! **Invariant**: only a clean close counts. A server that is unreachable or silent says nothing
//! about the others. After any other failure, counting starts from zero.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{LEGACY_CLOSES_MIN, LEGACY_SERVERS_MIN};
use crate::server_connection::ExchangeError;

/// What the servers did with `AgencyStatus` so far.
#[derive(Debug)]
pub(crate) struct LegacyDetection {
    /// Whether the settings allow the fallback.
    is_allowed: bool,
    /// For how long a server must close connections.
    duration: Duration,
    is_excluded: bool,
    closing: BTreeMap<SocketAddr, CloseSeries>,
    /// Servers that were unreachable or silent when they were last tried.
    away: BTreeSet<SocketAddr>,
    /// Whether a server answered that it does not know the packet.
    is_unknown: bool,
}

/// The consecutive closes of one server.
#[derive(Debug, Clone, Copy)]
struct CloseSeries {
    count: usize,
    first: Instant,
    last: Instant,
}

impl LegacyDetection {
    pub(crate) fn new(is_allowed: bool, duration: Duration) -> Self {
        let (closing, away) = (BTreeMap::new(), BTreeSet::new());
        Self { is_allowed, duration, is_excluded: false, closing, away, is_unknown: false }
    }

    /// Notes that `address`, one of `known`, closed the connection `now` without a byte. Returns
    /// whether the servers are now taken for legacy servers.
    pub(crate) fn note_close(
        &mut self,
        address: SocketAddr,
        known: &[SocketAddr],
        now: Instant,
    ) -> bool {
        self.closing.retain(|address, _| known.contains(address));
        self.away.retain(|address| known.contains(address));
        self.away.remove(&address);
        let new = CloseSeries { count: 0, first: now, last: now };
        let series = self.closing.entry(address).or_insert(new);
        (series.count, series.last) = (series.count + 1, now);
        let is_legacy = |series: &&CloseSeries| {
            series.count >= LEGACY_CLOSES_MIN && series.last - series.first >= self.duration
        };
        let legacy = self.closing.values().filter(is_legacy).count();
        let reachable = known.len().saturating_sub(self.away.len()).max(1);
        self.is_possible() && legacy >= reachable.min(LEGACY_SERVERS_MIN)
    }

    /// Notes what failed at `address`.
    pub(crate) fn note_error(&mut self, address: SocketAddr, error: &ExchangeError) {
        match error {
            ExchangeError::Connect(_)
            | ExchangeError::ConnectTimeout(_)
            | ExchangeError::AnswerTimeout(_) => {
                self.closing.remove(&address);
                self.away.insert(address);
            }
            _ => self.reset(),
        }
    }

    /// Notes that a server answered that it does not know the packet. Returns whether the servers
    /// are now taken for legacy servers.
    pub(crate) fn note_unknown_packet(&mut self) -> bool {
        self.is_unknown = true;
        self.is_possible()
    }

    /// Starts counting from zero.
    pub(crate) fn reset(&mut self) {
        self.closing.clear();
        self.away.clear();
        self.is_unknown = false;
    }

    /// Notes a proper answer: from now on, bets are sent by `StoreRows` only.
    pub(crate) fn exclude(&mut self) {
        self.is_excluded = true;
    }

    /// What to tell a person if the client gives up now.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let is_suspected = self.is_unknown || !self.closing.is_empty();
        match (is_suspected, self.is_allowed, self.is_excluded) {
            (true, false, false) => Some(
                "servers of the reference system do that to AgencyStatus, which they do not know: \
                 for those set CLI_FALLBACK=yes",
            ),
            (true, true, true) => Some(
                "a server that is away now answered AgencyStatus before: start it first, or set \
                 CLI_FALLBACK=no; else the next run may take the others for servers of the \
                 reference system and store the whole file again",
            ),
            _ => None,
        }
    }

    fn is_possible(&self) -> bool {
        self.is_allowed && !self.is_excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(3);

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, host], 12345))
    }

    /// The first `count` addresses.
    fn known(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(address).collect()
    }

    fn servers(is_allowed: bool) -> LegacyDetection {
        LegacyDetection::new(is_allowed, DURATION)
    }

    /// The first of these closes, from 1, that makes the servers legacy servers. Each is a second
    /// after the one before.
    fn legacy_at(servers: &mut LegacyDetection, known: u8, hosts: &[u8]) -> Option<u64> {
        legacy_after(servers, Instant::now(), known, hosts)
    }

    fn legacy_after(
        servers: &mut LegacyDetection,
        start: Instant,
        count: u8,
        hosts: &[u8],
    ) -> Option<u64> {
        (1..).zip(hosts).find_map(|(second, host)| {
            let now = start + Duration::from_secs(second);
            servers.note_close(address(*host), &known(count), now).then_some(second)
        })
    }

    #[test]
    fn consecutive_closes_are_needed() {
        let mut servers = servers(true);
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1]), None);
        servers.note_error(address(1), &ExchangeError::TruncatedAnswer);
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1, 1]), Some(4));
    }

    #[test]
    fn three_closes_are_needed_however_long_they_take() {
        let (mut servers, now) = (servers(true), Instant::now());
        let times = [now, now + DURATION, now + 2 * DURATION];
        assert_eq!(
            times.map(|now| servers.note_close(address(1), &known(1), now)),
            [false, false, true]
        );
    }

    #[test]
    fn many_closes_within_a_moment_are_no_evidence() {
        let (mut servers, now) = (servers(true), Instant::now());
        assert!((1..=50).all(|close| !servers.note_close(address(close % 5 + 1), &known(5), now)));
    }

    #[test]
    fn several_servers_are_needed_if_there_are_several() {
        assert_eq!(legacy_at(&mut servers(true), 9, &[1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]), None);
        assert_eq!(legacy_at(&mut servers(true), 9, &[1, 2, 3, 1, 2, 3, 1, 2, 3]), Some(9));
        assert_eq!(legacy_at(&mut servers(true), 2, &[1, 2, 1, 2, 1, 2]), Some(6));
    }

    #[test]
    fn unreachable_servers_say_nothing_about_the_others() {
        let refused = || ExchangeError::Connect(std::io::ErrorKind::ConnectionRefused.into());
        let silent = || ExchangeError::AnswerTimeout(DURATION);
        let (mut servers, start) = (servers(true), Instant::now());
        let later = start + DURATION;
        servers.note_error(address(2), &refused());
        servers.note_error(address(3), &silent());
        assert_eq!(legacy_after(&mut servers, start, 3, &[1, 1, 1]), None);
        servers.note_error(address(2), &refused());
        assert_eq!(
            legacy_after(&mut servers, later, 3, &[1]),
            Some(1),
            "the series went on meanwhile"
        );
        // A server that is back must be a legacy server, too.
        assert_eq!(legacy_after(&mut servers, later, 3, &[2, 1]), None);
    }

    #[test]
    fn addresses_that_left_the_dns_do_not_count() {
        let (mut servers, start) = (servers(true), Instant::now());
        for host in [4, 5] {
            servers.note_error(address(host), &ExchangeError::ConnectTimeout(DURATION));
        }
        let all = [1, 4, 5].map(address);
        let mut close =
            |known: &[SocketAddr], after| servers.note_close(address(1), known, start + after);
        assert!(!close(&all, DURATION) && !close(&all, DURATION * 2 - DURATION / 2));
        // Two other servers are there now, and have not been asked yet.
        assert!(!close(&known(3), DURATION * 3));
        assert!(close(&known(1), DURATION * 4), "it is the only one");
    }

    #[test]
    fn a_server_that_was_away_starts_from_zero() {
        let mut servers = servers(true);
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1]), None);
        servers.note_error(address(1), &ExchangeError::ConnectTimeout(DURATION));
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1, 1]), Some(4));
    }

    #[test]
    fn an_answer_that_says_so_is_enough() {
        assert!(servers(true).note_unknown_packet());
    }

    #[test]
    fn one_proper_answer_excludes_legacy_servers() {
        let mut servers = servers(true);
        servers.exclude();
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1, 1]), None);
        assert!(!servers.note_unknown_packet());
    }

    #[test]
    fn the_hint_names_the_setting_that_forbids_the_fallback() {
        let mut servers = servers(false);
        assert_eq!(servers.hint(), None);
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1, 1]), None);
        assert!(servers.hint().unwrap().contains("CLI_FALLBACK"));
        servers.reset();
        assert_eq!(servers.hint(), None);
        assert!(!servers.note_unknown_packet() && servers.hint().is_some());
    }

    #[test]
    fn a_run_that_gives_up_beside_legacy_servers_warns_of_the_next_one() {
        let mut servers = servers(true);
        servers.exclude();
        assert_eq!(servers.hint(), None);
        assert_eq!(legacy_at(&mut servers, 1, &[1, 1, 1]), None);
        assert!(servers.hint().unwrap().contains("CLI_FALLBACK=no"));
    }
}
