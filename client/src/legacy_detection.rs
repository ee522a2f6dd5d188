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

    const SECOND: Duration = Duration::from_secs(1);

    /// The first of these events, from 1, that makes the servers legacy servers. Each is `period`
    /// after the one before. `1` is a close of the server 1 without a byte, `a1` says that it is
    /// away, `s1` that it is silent, and `t1` that its answer is truncated.
    fn legacy_at(
        servers: &mut LegacyDetection,
        known: u8,
        period: Duration,
        events: &str,
    ) -> Option<u32> {
        let (start, known) = (Instant::now(), (1..=known).map(address).collect::<Vec<_>>());
        (1..).zip(events.split(' ')).find_map(|(place, event)| {
            let server = address(event.trim_start_matches(char::is_alphabetic).parse().unwrap());
            let error = match event.chars().next() {
                Some('a') => ExchangeError::ConnectTimeout(DURATION),
                Some('s') => ExchangeError::AnswerTimeout(DURATION),
                Some('t') => ExchangeError::TruncatedAnswer,
                _ => {
                    let now = start + period * place;
                    return servers.note_close(server, &known, now).then_some(place);
                }
            };
            servers.note_error(server, &error);
            None
        })
    }

    #[test]
    fn enough_closes_in_a_row_over_a_time_at_enough_servers_are_needed() {
        for (what, known, period, events, wanted) in [
            ("four closes in three seconds", 1, SECOND, "1 1 1 1", Some(4)),
            ("three are needed, however long they take", 1, DURATION, "1 1 1 1", Some(3)),
            ("many within a moment are not enough", 1, Duration::ZERO, "1 1 1 1 1 1 1 1 1", None),
            ("a truncated answer starts from zero", 1, SECOND, "1 1 1 t1 1 1 1 1", Some(8)),
            ("so does a server that was away", 1, SECOND, "1 1 1 a1 1 1 1 1", Some(8)),
            ("three of nine are enough", 9, SECOND, "1 2 3 1 2 3 1 2 3", Some(9)),
            ("fewer are not", 9, SECOND, "1 1 1 1 1 2 2 2 2 3 3 3", None),
            ("both of two are needed", 2, SECOND, "1 2 1 2 1 2", Some(6)),
            ("those away or silent do not count", 3, SECOND, "a2 s3 1 1 1 a2 1", Some(7)),
            ("one that is back counts", 2, SECOND, "a2 1 1 1 2 1", None),
        ] {
            assert_eq!(
                legacy_at(&mut LegacyDetection::new(true, DURATION), known, period, events),
                wanted,
                "{what}"
            );
        }
    }

    #[test]
    fn addresses_that_left_the_dns_do_not_count() {
        let (mut servers, start) = (LegacyDetection::new(true, DURATION), Instant::now());
        for host in [4, 5] {
            servers.note_error(address(host), &ExchangeError::ConnectTimeout(DURATION));
        }
        let all = [1, 4, 5].map(address);
        let mut close =
            |known: &[SocketAddr], after| servers.note_close(address(1), known, start + after);
        assert!(!close(&all, DURATION) && !close(&all, DURATION * 2 - DURATION / 2));
        // Two other servers are there now, and have not been asked yet.
        assert!(!close(&[1, 2, 3].map(address), DURATION * 3));
        assert!(close(&[address(1)], DURATION * 4), "it is the only one");
    }

    #[test]
    fn a_setting_or_a_proper_answer_excludes_legacy_servers_and_the_hint_says_what_to_set() {
        for (is_allowed, is_answered, hint) in [
            (true, false, ""),
            (false, false, "set CLI_FALLBACK=yes"),
            (true, true, "CLI_FALLBACK=no"),
            (false, true, ""),
        ] {
            let mut servers = LegacyDetection::new(is_allowed, DURATION);
            if is_answered {
                servers.exclude();
            }
            assert_eq!(servers.hint(), None);
            let is_possible = is_allowed && !is_answered;
            let wanted = is_possible.then_some(4);
            assert_eq!(legacy_at(&mut servers, 1, SECOND, "1 1 1 1"), wanted);
            let closed = servers.hint().unwrap_or_default();
            servers.reset();
            assert_eq!(servers.hint(), None);
            assert_eq!(servers.note_unknown_packet(), is_possible);
            for shown in [closed, servers.hint().unwrap_or_default()] {
                assert!(shown.contains(hint) && shown.is_empty() == hint.is_empty(), "{shown}");
            }
        }
    }
}
