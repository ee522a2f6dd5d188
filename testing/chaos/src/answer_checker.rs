//! What every packet and answer that passed the proxies says, against the files of bets.
//!
//! Shares no code with server, client or protocol.
//!
//! **Invariant**: of each agency, answers never go back: what asks after an answer came gets
//! at least what that answer said. The rows in an answer are a prefix of the agency's file, digest
//! and all, and end where a batch ends that was delivered whole and not answered with a refusal:
//! so a batch stored in part is seen, and one that was stored though it was answered 1. No draw is
//! announced before every agency has asked for its close, and no answer takes longer than a lock is
//! waited for, of a server that is available.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::registry::ServerRegistry;
use crate::report::Report;
use oracle::expected::AgencyExpected;

/// How long an answer may take: the 5 s that a lock is waited for, and what a busy machine needs.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(7_500);

/// Watches the packets and answers of one run. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct AnswerChecker {
    expected: Arc<Vec<AgencyExpected>>,
    /// How many rows each batch has, except for an agency's last one, where no packet of clients is
    /// seen.
    batch: Option<u64>,
    registry: ServerRegistry,
    seen: Arc<Mutex<Seen>>,
    report: Report,
}

#[derive(Debug, Default)]
struct Seen {
    agencies: BTreeMap<usize, SeenAgency>,
    asked: u64,
    /// Agencies whose clients took the servers for legacy servers: one violation each.
    taken_for_legacy: BTreeSet<usize>,
    is_drawn: bool,
}

#[derive(Debug, Default, Clone)]
struct SeenAgency {
    /// Rows that an answer said are stored.
    acknowledged: u64,
    /// Whether its close, with all of its rows, was on its way to a server.
    is_close_asked: bool,
    /// Whether an answer said that it has closed.
    is_closed: bool,
    /// Where delivered batches end that may be stored.
    possible: BTreeMap<u64, u64>,
    /// Where batches end that are stored.
    ends: BTreeSet<u64>,
}

/// Any packet on its way to a server.
#[derive(Debug, Clone)]
pub struct Sent {
    place: usize,
    at: Instant,
    /// Its start.
    line: String,
}

impl Sent {
    /// The packet `line` is sent now to the server at `place`.
    #[must_use]
    pub fn now(place: usize, line: &str) -> Self {
        Self { place, at: Instant::now(), line: line.chars().take(60).collect() }
    }
}

/// A packet that is delivered.
#[derive(Debug, Clone)]
pub struct Asked {
    id: u64,
    sent: Sent,
    agency: usize,
    /// The first and the last row of the batch that it carries.
    rows: Option<(u64, u64)>,
    /// Whether it is a close that declares all rows.
    is_close: bool,
    acknowledged: u64,
    was_closed: bool,
    was_drawn: bool,
}

impl AnswerChecker {
    /// A checker of a run with these files. Where clients' packets are not seen, all of them send
    /// batches of `batch` rows.
    #[must_use]
    pub fn new(
        expected: Vec<AgencyExpected>,
        batch: Option<u64>,
        registry: ServerRegistry,
        report: Report,
    ) -> Self {
        Self { expected: Arc::new(expected), batch, registry, seen: Arc::default(), report }
    }

    /// What the answers must say, agency by agency.
    #[must_use]
    pub fn expected(&self) -> &[AgencyExpected] {
        &self.expected
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows of `agency` an answer said are stored.
    #[must_use]
    pub fn acknowledged(&self, agency: usize) -> u64 {
        self.seen().agencies.get(&agency).map_or(0, |known| known.acknowledged)
    }

    /// Whether an answer said that `agency` has closed.
    #[must_use]
    pub fn is_closed(&self, agency: usize) -> bool {
        let seen = self.seen();
        seen.is_drawn || seen.agencies.get(&agency).is_some_and(|known| known.is_closed)
    }

    /// Takes note of a packet that is about to be delivered whole to the server at `place`.
    #[must_use]
    pub fn asked(&self, place: usize, line: &[u8]) -> Asked {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let (kind, rest) = line.split_once(':').unwrap_or((&line, ""));
        let (head, rows) = rest.split_once(':').unwrap_or((rest, ""));
        let mut numbers = head.split(';').map(|part| part.parse::<u64>().unwrap_or(0));
        let (agency, first_row) = (numbers.next().unwrap_or(0), numbers.next());
        let rows = rows.split(':').count() as u64;
        let rows = first_row.filter(|_| kind == "StoreRows").map(|first| (first, first + rows - 1));
        let is_for_legacy =
            kind.starts_with("StoreB") || (kind == "AgencyClose" && first_row.is_none());
        let agency = agency as usize;
        let is_close = kind == "AgencyClose" && first_row == self.rows_of(agency);
        let mut seen = self.seen();
        if is_for_legacy && seen.taken_for_legacy.insert(agency) {
            let packet: String = line.chars().take(40).collect();
            self.report
                .violation(format!("a client takes the servers for legacy servers: {packet}"));
        }
        seen.asked += 1;
        let (id, was_drawn) = (seen.asked, seen.is_drawn);
        let known = seen.agencies.entry(agency).or_default();
        known.possible.extend(rows.map(|(_, last)| (id, last)));
        known.is_close_asked |= is_close;
        let (acknowledged, was_closed) = (known.acknowledged, known.is_closed);
        let sent = Sent::now(place, &line);
        Asked { id, sent, agency, rows, is_close, acknowledged, was_closed, was_drawn }
    }

    /// Compares the answer to a delivered packet with all that was seen.
    pub fn answered(&self, asked: &Asked, answer: &[u8]) {
        let answer = String::from_utf8_lossy(answer).trim_end().to_owned();
        if let Err(wrong) = self.check(asked, &answer) {
            let answer: String = answer.chars().take(120).collect();
            let Asked { sent: Sent { line, .. }, agency, .. } = asked;
            self.report.violation(format!("agency {agency}: {line:?} got {answer:?}: {wrong}"));
        }
    }

    fn check(&self, asked: &Asked, answer: &str) -> Result<(), String> {
        self.check_time(&asked.sent)?;
        let (kind, rest) = answer.split_once(':').ok_or("not an answer")?;
        let expected = asked.agency.checked_sub(1).and_then(|index| self.expected.get(index));
        let expected = expected.ok_or("an agency that does not take part")?;
        let mut seen = self.seen();
        // A client that takes servers for legacy servers is a violation already, and its packets say
        // nothing here; the files are checked all the same.
        let is_for_legacy = seen.taken_for_legacy.contains(&asked.agency);
        if is_for_legacy || kind == "Error" && rest.starts_with("busy") {
            return Ok(());
        }
        let fields: Vec<&str> = rest.split(';').collect();
        match (kind, fields.as_slice()) {
            ("AgencyStatusResponse", [rows, digest, state]) => {
                let rows = number(rows)?;
                self.check_rows(&mut seen, asked, (rows, digest), true)?;
                self.check_state(&mut seen, asked, rows == expected.rows(), state)
            }
            ("StoreRowsResponse", ["0", rows, digest]) => {
                let ((_, last), rows) = (asked.rows.ok_or("it carries no rows")?, number(rows)?);
                let known = seen.agency(asked.agency);
                known.ends.insert(last);
                known.possible.remove(&asked.id);
                if rows < last {
                    return Err(format!("stored, but row {last} is not there"));
                }
                self.check_rows(&mut seen, asked, (rows, digest), true)
            }
            ("StoreRowsResponse", [status @ ("1" | "2"), rows, digest, reason @ ..]) => {
                seen.agency(asked.agency).possible.remove(&asked.id);
                let (rows, is_refused) = (number(rows)?, *status == "2");
                if is_refused {
                    check_refusal(asked, rows, reason.first().unwrap_or(&""))?;
                }
                // A server that could not look at the files may say less than is stored.
                self.check_rows(&mut seen, asked, (rows, digest), is_refused)
            }
            ("AgencyCloseResponse", ["0"]) => {
                let known = seen.agency(asked.agency);
                known.is_closed = true;
                match known.acknowledged < expected.rows() || !asked.is_close {
                    true => Err(format!("closed without all of {} rows", expected.rows())),
                    false => Ok(()),
                }
            }
            ("AgencyCloseResponse", ["1", ..]) => Ok(()),
            ("WinnersResponse", _) => {
                self.check_drawn(&mut seen)?;
                let wanted = &expected.winners;
                if rest == wanted { Ok(()) } else { Err(format!("the winners are {wanted}")) }
            }
            _ => Err("no answer that it should get".to_owned()),
        }
    }

    /// Whether the answer that came now came in time. The time of a paused server
    /// counts from when it is resumed; winners have all the time there is.
    ///
    /// # Errors
    /// It did not; says how long it took.
    pub fn check_time(&self, sent: &Sent) -> Result<(), String> {
        let Some(available) = self.registry.available_since(sent.place) else { return Ok(()) };
        let took = sent.at.max(available).elapsed();
        if took <= ANSWER_TIME_MAX || sent.line.starts_with("WinnersRequest") {
            return Ok(());
        }
        let (seconds, place) = (took.as_secs_f32(), sent.place + 1);
        Err(format!("server-{place} was available and took {seconds:.1} s"))
    }

    /// Rows in an answer are the first of the agency's file, and end where a batch ends that may be
    /// stored; if the server looked at the files, they are not less than were acknowledged.
    fn check_rows(
        &self,
        seen: &mut Seen,
        asked: &Asked,
        (rows, digest): (u64, &str),
        has_looked: bool,
    ) -> Result<(), String> {
        let digests = self.expected.get(asked.agency - 1).map(|expected| &expected.digests);
        match digests.and_then(|digests| digests.get(rows as usize)) {
            None => return Err("more rows than its file has".to_owned()),
            Some(wanted) if wanted != digest => return Err(format!("the digest is not {wanted}")),
            Some(_) => {}
        }
        if has_looked && rows < asked.acknowledged {
            return Err(format!("{} rows had been acknowledged", asked.acknowledged));
        }
        let known = seen.agency(asked.agency);
        let is_end = match self.batch {
            Some(batch) => rows.is_multiple_of(batch) || Some(rows) == self.rows_of(asked.agency),
            None => {
                rows == 0
                    || known.ends.contains(&rows)
                    || known.possible.values().any(|last| *last == rows)
            }
        };
        if !is_end {
            return Err("no batch that can be stored ends there".to_owned());
        }
        known.ends.insert(rows);
        known.acknowledged = known.acknowledged.max(rows);
        Ok(())
    }

    fn check_state(
        &self,
        seen: &mut Seen,
        asked: &Asked,
        has_all: bool,
        state: &str,
    ) -> Result<(), String> {
        match state {
            "open" if asked.was_closed || asked.was_drawn => Err("it had closed".to_owned()),
            "closed" if asked.was_drawn => Err("the draw had been held".to_owned()),
            "open" => Ok(()),
            "closed" | "drawn" if !has_all => Err("not all of its rows are stored".to_owned()),
            "closed" => {
                let known = seen.agency(asked.agency);
                known.is_closed = true;
                let is_asked = known.is_close_asked || self.batch.is_some();
                is_asked.then_some(()).ok_or_else(|| "its close was not asked for".to_owned())
            }
            "drawn" => self.check_drawn(seen),
            _ => Err("no state".to_owned()),
        }
    }

    /// What says that the draw was held: every agency has closed before.
    fn check_drawn(&self, seen: &mut Seen) -> Result<(), String> {
        seen.is_drawn = true;
        let mut agencies = 1..=self.expected.len();
        match agencies.find(|agency| self.batch.is_none() && !seen.agency(*agency).is_close_asked) {
            Some(agency) => Err(format!("agency {agency} had not asked for its close")),
            None => Ok(()),
        }
    }

    fn rows_of(&self, agency: usize) -> Option<u64> {
        self.expected.get(agency.checked_sub(1)?).map(AgencyExpected::rows)
    }
}

impl Seen {
    fn agency(&mut self, agency: usize) -> &mut SeenAgency {
        self.agencies.entry(agency).or_default()
    }
}

fn number(rows: &str) -> Result<u64, String> {
    rows.parse().map_err(|_| "no number of rows".to_owned())
}

/// Whether a batch can have been refused so with `rows` stored: all of it is of the agency's file, so
/// that only where it begins and ends can be wrong. A closed agency has all rows, and a batch that is
/// stored is not refused.
fn check_refusal(asked: &Asked, rows: u64, reason: &str) -> Result<(), String> {
    let (first, last) = asked.rows.ok_or("it carries no rows")?;
    let is_possible = match reason.split(' ').next() {
        Some("gap") => first > rows + 1,
        Some("overlap") => first <= rows && rows < last,
        _ => false,
    };
    if is_possible {
        return Ok(());
    }
    Err(format!("rows {first} to {last} cannot be refused so with {rows} stored"))
}
