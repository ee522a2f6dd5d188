//! What a run came to: a table for people, one JSON line for programs.

use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use serde::{Serialize, Serializer};

use harness::numbers::grouped;
use harness::terminal::STYLE;

/// How many documents of an agency's winners the table shows.
const DOCUMENTS_SHOWN: usize = 4;

/// The same where it is narrow.
const NARROW_DOCUMENTS_SHOWN: usize = 2;

/// Below this width, in columns, a terminal is narrow.
const NARROW_COLUMNS: u16 = 64;

/// The result of a run. Its JSON form is what `--json` promises; keys are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whether all of it is right.
    pub ok: bool,
    /// How many instances ran.
    pub servers: u8,
    /// How many bets the files have.
    pub bets: u64,
    /// How many rows are stored.
    pub stored: u64,
    /// From the start of the first client to the end of the last one.
    #[serde(serialize_with = "seconds")]
    pub seconds: Duration,
    /// Bets that were stored in this run, by those seconds.
    pub bets_per_second: u64,
    /// Agency by agency.
    pub agencies: Vec<AgencyReport>,
    /// How many of the rows were stored in this run, not in an earlier one.
    pub stored_now: u64,
    /// Instance by instance.
    pub instances: Vec<InstanceReport>,
    /// What is not right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// One agency's part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgencyReport {
    /// Its number.
    pub agency: u32,
    /// How many bets its file has.
    pub bets: u64,
    /// How many rows are stored for it.
    pub stored: u64,
    /// How many winners it has.
    pub winners: usize,
    /// Their documents, in the order of its file.
    pub documents: Vec<String>,
    /// From its client's start to its close: without the wait for the draw. For the table only.
    #[serde(skip)]
    pub seconds: Duration,
    /// Bets by those seconds. For the table only.
    #[serde(skip)]
    pub bets_per_second: u64,
}

/// One instance's part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// Where it listened.
    pub address: String,
    /// How many bets it stored.
    pub bets: u64,
}

impl Report {
    /// The result as one line of JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The result as a table for a terminal of `width` columns; unknown is taken as wide. Where
    /// it is narrow, times and rates are left out, and the documents come below.
    #[must_use]
    pub fn table(&self, width: Option<u16>) -> String {
        let shown = match width {
            Some(width) if width < NARROW_COLUMNS => NARROW_SHOWN,
            _ => HEADER.len(),
        };
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width {
            table.set_width(width);
        }
        table.set_header(HEADER.into_iter().take(shown));
        for agency in &self.agencies {
            table.add_row(agency.cells().into_iter().take(shown));
        }
        table.add_row(self.totals().into_iter().take(shown));
        for column in table.column_iter_mut().take(HEADER.len() - 1) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        let mut text = format!("{}\n", table.trim_fmt());
        if shown < HEADER.len() {
            for agency in self.agencies.iter().filter(|agency| agency.winners > 0) {
                let documents = shortened(&agency.documents, NARROW_DOCUMENTS_SHOWN);
                text.push_str(&format!("agency {}: {documents}\n", agency.agency));
            }
        }
        text
    }

    /// One line for each instance: how the load was spread.
    #[must_use]
    pub fn spread(&self) -> String {
        let instances = self.instances.iter();
        instances.map(|i| format!("{} stored {} bets\n", i.address, grouped(i.bets))).collect()
    }

    fn totals(&self) -> [String; 7] {
        let winners: usize = self.agencies.iter().map(|agency| agency.winners).sum();
        [
            "all".to_owned(),
            grouped(self.bets),
            grouped(self.stored),
            grouped(winners as u64),
            hundredths(self.seconds),
            grouped(self.bets_per_second),
            String::new(),
        ]
    }
}

const HEADER: [&str; 7] = ["agency", "bets", "stored", "winners", "seconds", "bets/s", "documents"];

/// How many of these columns are shown where it is narrow.
const NARROW_SHOWN: usize = 4;

impl AgencyReport {
    fn cells(&self) -> [String; 7] {
        [
            self.agency.to_string(),
            grouped(self.bets),
            grouped(self.stored),
            grouped(self.winners as u64),
            hundredths(self.seconds),
            grouped(self.bets_per_second),
            shortened(&self.documents, DOCUMENTS_SHOWN),
        ]
    }
}

fn shortened(documents: &[String], shown: usize) -> String {
    let first: Vec<&str> = documents.iter().take(shown).map(String::as_str).collect();
    match documents.len().saturating_sub(shown) {
        0 => first.join(" "),
        more => format!("{} … {} more", first.join(" "), grouped(more as u64)),
    }
}

fn hundredths(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// Milliseconds are as fine as it makes sense.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_millis() as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problems: &[&str]) -> Report {
        let (bets, seconds, bets_per_second) = (26_936, Duration::from_millis(1_250), 21_548);
        let agency = |agency, winners: std::ops::Range<u32>| AgencyReport {
            agency,
            bets,
            stored: bets,
            winners: winners.len(),
            documents: winners.map(|document| document.to_string()).collect(),
            seconds,
            bets_per_second,
        };
        Report {
            ok: problems.is_empty(),
            servers: 3,
            bets: 2 * bets,
            stored: 2 * bets,
            seconds,
            bets_per_second,
            agencies: vec![agency(1, 30_876_370..30_876_372), agency(2, 0..1_006)],
            stored_now: 2 * bets,
            instances: vec![InstanceReport { address: "127.0.0.1:7".into(), bets: 2 * bets }],
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        }
    }

    #[test]
    fn json_starts_with_what_is_promised() {
        let json = report(&[]).json().unwrap();
        let promised = "{\"ok\":true,\"servers\":3,\"bets\":53872,\"stored\":53872,\
                        \"seconds\":1.25,\"bets_per_second\":21548,\
                        \"agencies\":[{\"agency\":1,\"bets\":26936,\"stored\":26936,\
                        \"winners\":2,\"documents\":[\"30876370\",\"30876371\"]";
        assert!(json.starts_with(promised), "{json}");
        assert!(!json.contains("problems"), "{json}");
        let json = report(&["agency 3: …"]).json().unwrap();
        assert!(json.ends_with("\"problems\":[\"agency 3: …\"]}"), "{json}");
    }

    #[test]
    fn a_table_fits_its_terminal_and_has_every_agency() {
        for (width, more) in
            [(40, "0 1 … 1,004 more"), (80, "1,002"), (120, "0 1 2 3 … 1,002 more")]
        {
            let table = report(&[]).table(Some(width));
            for line in table.lines() {
                assert!(line.chars().count() <= usize::from(width), "{line}");
            }
            for wanted in ["agency", "26,936", "30876370", "30876371", "53,872", more] {
                assert!(table.contains(wanted), "{wanted} in\n{table}");
            }
        }
    }
}
