//! What every packet and answer that passed the proxies says, against the files of bets.
//!
//! Shares no code with server, client or protocol.
//!
//! **Invariant**: of each agency, answers never go back: whoever asks after an answer came gets
//! at least what that answer said. The rows in an answer are a prefix of the agency's file, digest
//! and all, and end where a batch ends that was delivered whole and not answered with a refusal:
//! so a batch stored in part is seen, and one that was stored though it was answered 1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::tally::Findings;
use crate::bets_dir::BetsDirectory;

/// What the answers for one agency must say, by its file.
#[derive(Debug)]
pub struct AgencyExpected {
    /// The digest of the first k rows, for k from 0.
    pub digests: Vec<String>,
    /// The winners' documents as an answer has them.
    pub winners: String,
}

impl AgencyExpected {
    /// How many rows its file has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.digests.len().saturating_sub(1) as u64
    }

    /// The digest of all rows.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.digests.last().map_or("", String::as_str)
    }
}

/// Reads what all agencies' answers must say.
///
/// # Errors
/// A file cannot be read, or is malformed.
pub fn expect(bets: &BetsDirectory, winner_number: u16) -> anyhow::Result<Vec<AgencyExpected>> {
    (1..=bets.agencies()).map(|agency| expect_agency(bets, agency, winner_number)).collect()
}

fn expect_agency(
    bets: &BetsDirectory,
    agency: u32,
    winner_number: u16,
) -> anyhow::Result<AgencyExpected> {
    let path = bets.file(agency);
    let reader = csv::ReaderBuilder::new().has_headers(false).from_path(&path);
    let (mut digest, mut digests, mut winners) = (0, vec![format!("{:016x}", 0)], Vec::new());
    for record in reader.with_context(|| format!("open {}", path.display()))?.records() {
        let record = record.context("read a row")?;
        let fields: Vec<&str> = record.iter().collect();
        let &[_, _, document, _, number] = fields.as_slice() else { bail!("not five fields") };
        digest = xxh3_64_with_seed(fields.join(";").as_bytes(), digest);
        digests.push(format!("{digest:016x}"));
        if number == winner_number.to_string() {
            winners.push(document.to_owned());
        }
    }
    Ok(AgencyExpected { digests, winners: winners.join(";") })
}

/// Watches the packets and answers of one run. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct Witness {
    expected: Arc<Vec<AgencyExpected>>,
    seen: Arc<Mutex<Seen>>,
    findings: Findings,
}

#[derive(Debug, Default)]
struct Seen {
    agencies: BTreeMap<usize, SeenAgency>,
    asked: u64,
    /// Agencies whose clients took the servers for ones that do not know rows: told once.
    old: BTreeSet<usize>,
    is_drawn: bool,
}

#[derive(Debug, Default, Clone)]
struct SeenAgency {
    /// Rows that an answer said are stored.
    floor: u64,
    /// Whether an answer said that it has closed.
    is_closed: bool,
    /// Where delivered batches end that may be stored.
    possible: BTreeMap<u64, u64>,
    /// Where batches end that are stored.
    ends: BTreeSet<u64>,
}

/// A packet that is delivered.
#[derive(Debug, Clone)]
pub struct Asked {
    id: u64,
    line: String,
    agency: usize,
    /// The last row of the batch that it carries.
    last_row: Option<u64>,
    floor: u64,
    was_closed: bool,
    was_drawn: bool,
}

impl Witness {
    /// A witness of a run with these files.
    #[must_use]
    pub fn new(expected: Vec<AgencyExpected>, findings: Findings) -> Self {
        Self { expected: Arc::new(expected), seen: Arc::default(), findings }
    }

    /// What the answers must say, agency by agency.
    #[must_use]
    pub fn expected(&self) -> &[AgencyExpected] {
        &self.expected
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a packet that is about to be delivered whole.
    #[must_use]
    pub fn asked(&self, line: &[u8]) -> Asked {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let (kind, rest) = line.split_once(':').unwrap_or((&line, ""));
        let (head, rows) = rest.split_once(':').unwrap_or((rest, ""));
        let mut numbers = head.split(';').map(|part| part.parse::<u64>().unwrap_or(0));
        let (agency, first_row) = (numbers.next().unwrap_or(0), numbers.next());
        let rows = rows.split(':').count() as u64;
        let last_row = first_row.filter(|_| kind == "StoreRows").map(|first| first + rows - 1);
        let is_old = kind.starts_with("StoreB") || (kind == "AgencyClose" && first_row.is_none());
        let agency = agency as usize;
        let mut seen = self.seen();
        if is_old && seen.old.insert(agency) {
            let packet: String = line.chars().take(40).collect();
            self.findings.add(format!("a client takes the servers for old ones: {packet}"));
        }
        seen.asked += 1;
        let (id, was_drawn) = (seen.asked, seen.is_drawn);
        let known = seen.agencies.entry(agency).or_default();
        known.possible.extend(last_row.map(|last_row| (id, last_row)));
        let (floor, was_closed) = (known.floor, known.is_closed);
        let line = line.chars().take(60).collect();
        Asked { id, line, agency, last_row, floor, was_closed, was_drawn }
    }

    /// Compares the answer to a delivered packet with all that was seen.
    pub fn answered(&self, asked: &Asked, answer: &[u8]) {
        let answer = String::from_utf8_lossy(answer).trim_end().to_owned();
        if let Err(wrong) = self.check(asked, &answer) {
            let answer: String = answer.chars().take(120).collect();
            let Asked { line, agency, .. } = asked;
            self.findings.add(format!("agency {agency}: {line:?} got {answer:?}: {wrong}"));
        }
    }

    fn check(&self, asked: &Asked, answer: &str) -> Result<(), String> {
        if self.seen().old.contains(&asked.agency) {
            // That is told, and nothing holds any more; the files are checked all the same.
            return Ok(());
        }
        let (kind, rest) = answer.split_once(':').ok_or("not an answer")?;
        if kind == "Error" && rest.starts_with("busy") {
            return Ok(());
        }
        let fields: Vec<&str> = rest.split(';').collect();
        match (kind, fields.as_slice()) {
            ("AgencyStatusResponse", [rows, digest, state]) => {
                self.check_rows(asked, rows, digest, true)?;
                self.check_state(asked, rows, state)
            }
            ("StoreRowsResponse", ["0", rows, digest]) => {
                self.check_stored(asked, rows)?;
                self.check_rows(asked, rows, digest, true)
            }
            ("StoreRowsResponse", [status @ ("1" | "2"), rows, digest, ..]) => {
                self.seen().agencies.entry(asked.agency).or_default().possible.remove(&asked.id);
                // Whoever could not look does not know better.
                self.check_rows(asked, rows, digest, *status == "2")
            }
            ("AgencyCloseResponse", ["0"]) => self.check_closed(asked),
            ("AgencyCloseResponse", ["1", ..]) => Ok(()),
            ("WinnersResponse", _) => self.check_winners(asked, rest),
            _ => Err("no answer that it should get".to_owned()),
        }
    }

    fn expected_of(&self, agency: usize) -> Result<&AgencyExpected, String> {
        let expected = agency.checked_sub(1).and_then(|index| self.expected.get(index));
        expected.ok_or_else(|| "an agency that does not take part".to_owned())
    }

    fn check_stored(&self, asked: &Asked, rows: &str) -> Result<(), String> {
        let last_row = asked.last_row.ok_or("it carries no rows")?;
        let mut seen = self.seen();
        let known = seen.agencies.entry(asked.agency).or_default();
        known.ends.insert(last_row);
        known.possible.remove(&asked.id);
        match rows.parse::<u64>() {
            Ok(rows) if rows >= last_row => Ok(()),
            _ => Err(format!("stored, but row {last_row} is not there")),
        }
    }

    fn check_rows(
        &self,
        asked: &Asked,
        rows: &str,
        digest: &str,
        is_fresh: bool,
    ) -> Result<(), String> {
        let rows: u64 = rows.parse().map_err(|_| "no number of rows".to_owned())?;
        let wanted = self.expected_of(asked.agency)?.digests.get(rows as usize);
        match wanted {
            None => return Err("more rows than its file has".to_owned()),
            Some(wanted) if wanted != digest => return Err(format!("the digest is not {wanted}")),
            Some(_) => {}
        }
        if is_fresh && rows < asked.floor {
            return Err(format!("{} rows had been acknowledged", asked.floor));
        }
        let mut seen = self.seen();
        let known = seen.agencies.entry(asked.agency).or_default();
        let is_end = rows == 0
            || known.ends.contains(&rows)
            || known.possible.values().any(|last| *last == rows);
        if !is_end {
            return Err("no batch that can be stored ends there".to_owned());
        }
        known.ends.insert(rows);
        known.floor = known.floor.max(rows);
        Ok(())
    }

    fn check_state(&self, asked: &Asked, rows: &str, state: &str) -> Result<(), String> {
        let all = self.expected_of(asked.agency)?.rows().to_string();
        match state {
            "open" if asked.was_closed || asked.was_drawn => Err("it had closed".to_owned()),
            "closed" if asked.was_drawn => Err("the draw had been held".to_owned()),
            "open" => Ok(()),
            "closed" | "drawn" if rows != all => Err(format!("it has {all} rows")),
            "closed" => {
                self.seen().agencies.entry(asked.agency).or_default().is_closed = true;
                Ok(())
            }
            "drawn" => {
                self.seen().is_drawn = true;
                Ok(())
            }
            _ => Err("no state".to_owned()),
        }
    }

    fn check_closed(&self, asked: &Asked) -> Result<(), String> {
        let all = self.expected_of(asked.agency)?.rows();
        let mut seen = self.seen();
        let known = seen.agencies.entry(asked.agency).or_default();
        known.is_closed = true;
        if known.floor < all { Err(format!("closed without all of {all} rows")) } else { Ok(()) }
    }

    fn check_winners(&self, asked: &Asked, winners: &str) -> Result<(), String> {
        self.seen().is_drawn = true;
        let wanted = &self.expected_of(asked.agency)?.winners;
        if winners == wanted { Ok(()) } else { Err(format!("the winners are {wanted}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness() -> (Witness, Findings) {
        let digests = ["d0", "d1", "d2", "d3", "d4"].map(str::to_owned).to_vec();
        let findings = Findings::default();
        let expected = AgencyExpected { digests, winners: "7;8".to_owned() };
        (Witness::new(vec![expected], findings.clone()), findings)
    }

    fn findings_of(conversation: &[(&str, &str)]) -> usize {
        let (witness, findings) = witness();
        for (packet, answer) in conversation {
            witness.answered(&witness.asked(packet.as_bytes()), answer.as_bytes());
        }
        findings.all().len()
    }

    #[test]
    fn a_right_day_is_right() {
        let day = [
            ("AgencyStatus:1\n", "AgencyStatusResponse:0;d0;open\n"),
            ("StoreRows:1;1:a:b\n", "StoreRowsResponse:1;0;d0;full\n"),
            ("StoreRows:1;1:a:b\n", "StoreRowsResponse:0;2;d2\n"),
            ("StoreRows:1;3:c:d\n", "StoreRowsResponse:0;4;d4\n"),
            ("StoreRows:1;1:a:b\n", "StoreRowsResponse:0;4;d4\n"),
            ("AgencyClose:1;4\n", "AgencyCloseResponse:0\n"),
            ("AgencyStatus:1\n", "AgencyStatusResponse:4;d4;closed\n"),
            ("WinnersRequest:1\n", "WinnersResponse:7;8\n"),
        ];
        assert_eq!(findings_of(&day), 0);
    }

    #[test]
    fn every_lie_is_found() {
        let (status, rows) = ("AgencyStatus:1\n", "StoreRows:1;1:a:b:c\n");
        for day in [
            &[(status, "AgencyStatusResponse:0;d1;open\n")][..],
            &[(status, "AgencyStatusResponse:1;d1;open\n")],
            &[(rows, "StoreRowsResponse:0;2;d2\n")],
            &[(rows, "StoreRowsResponse:1;0;d0;r"), (status, "AgencyStatusResponse:3;d3;open\n")],
            &[(rows, "StoreRowsResponse:0;3;d3\n"), (status, "AgencyStatusResponse:0;d0;open\n")],
            &[("AgencyClose:1;3\n", "AgencyCloseResponse:0\n")],
            &[(status, "AgencyStatusResponse:0;d0;drawn\n")],
            &[("WinnersRequest:1\n", "WinnersResponse:7\n")],
            &[("WinnersRequest:2\n", "WinnersResponse:7;8\n")],
            &[("WinnersRequest:1\n", "Error:unknown\n")],
            &[("AgencyClose:1\n", "Error:busy\n")],
        ] {
            assert!(findings_of(day) > 0, "{day:?}");
        }
    }
}
