//! What the attacks came to: a table for people, one JSON line for programs.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use super::attack::{Attack, Tally};
use super::target_server::Alarms;
use harness::numbers::{grouped, median};
use harness::terminal::{STYLE, columns, wrapped};

/// One attack.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub attack: Attack,
    /// What was sent in all rounds.
    pub sent: Tally,
    /// Rows a second of the ordinary load without the attack: before the first round, and behind
    /// each.
    pub calm: Vec<f64>,
    /// The same under it, round by round.
    pub during: Vec<f64>,
    /// The longest that an ordinary agency waited for an answer under it.
    pub slowest: Duration,
    /// What share of a processor the server took under the attack alone, round by round.
    pub processor: Vec<f64>,
    /// What the attacker itself took then.
    pub attacker: Vec<f64>,
    /// The most memory that the server had resident, in MiB.
    pub memory_mib: f64,
    /// What the server said about it.
    pub alarms: Alarms,
    /// What is not right.
    pub findings: Vec<String>,
    /// Where the files are, if something is not right.
    pub kept: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn new(attack: Attack) -> Self {
        Self {
            attack,
            sent: Tally::default(),
            calm: Vec::new(),
            during: Vec::new(),
            slowest: Duration::ZERO,
            processor: Vec::new(),
            attacker: Vec::new(),
            memory_mib: 0.0,
            alarms: Alarms::default(),
            findings: Vec::new(),
            kept: None,
            took: Duration::ZERO,
        }
    }

    /// What is left of the throughput: each round under the attack as a share of the mean of the
    /// windows without it on both sides, so that a machine which gets slower or faster meanwhile
    /// counts for nothing; of these the median.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let calm = self.calm.windows(2).filter_map(|two| match two {
            [before, after] => Some(f64::midpoint(*before, *after)),
            _ => None,
        });
        let ratios: Vec<f64> =
            self.during.iter().zip(calm).map(|(rate, calm)| rate / calm).collect();
        median(&ratios)
    }

    /// The median share of a processor.
    #[must_use]
    pub fn processor(&self) -> Option<f64> {
        median(&self.processor)
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let count = |value: Option<f64>| value.map(|value| grouped(value.round() as u64));
        let share = |value: Option<f64>| value.map(|value| format!("{value:.2}"));
        let of = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        [
            self.attack.name(),
            grouped(self.sent.connections),
            grouped(self.sent.lines),
            grouped(self.sent.bytes / 1_000_000),
            of(count(median(&self.calm))),
            of(count(median(&self.during))),
            of(share(self.ratio())),
            format!("{:.0}", self.slowest.as_secs_f64() * 1_000.0),
            of(share(self.processor())),
            of(share(median(&self.attacker))),
            format!("{:.0}", self.memory_mib.ceil()),
            if self.findings.is_empty() { "held".to_owned() } else { "NOT HELD".to_owned() },
        ]
    }
}

/// The headings, and which of them are left out first where it is narrow; 0 never is.
const COLUMNS: [(&str, u8); 12] = [
    ("attack", 0),
    ("connected", 2),
    ("lines", 3),
    ("MB", 1),
    ("calm/s", 4),
    ("under/s", 5),
    ("ratio", 0),
    ("ms", 6),
    ("server", 7),
    ("attacker", 8),
    ("MiB", 9),
    ("outcome", 0),
];

const LEGEND: &str = "calm/s, under/s: bets a second without and under the attack; ms: the longest \
                      wait of an agency; server, attacker: processors taken by the attack alone.";

/// All attacks. The JSON form is what `--json` promises; keys are only ever added.
#[derive(Debug, Default)]
pub struct Summary(Vec<Outcome>);

#[derive(Serialize)]
struct Json<'s> {
    ok: bool,
    attacks: Vec<JsonAttack<'s>>,
}

#[derive(Serialize)]
struct JsonAttack<'s> {
    attack: String,
    ok: bool,
    connections: u64,
    lines: u64,
    bytes: u64,
    closed: u64,
    stored: u64,
    before: &'s [f64],
    after: &'s [f64],
    during: &'s [f64],
    ratio: Option<f64>,
    slowest_ms: f64,
    processor: &'s [f64],
    attacker: &'s [f64],
    memory_mib: f64,
    alarm_lines: u64,
    alarm_bytes: u64,
    findings: &'s [String],
    directory: Option<&'s str>,
    seconds: f64,
}

impl<'s> JsonAttack<'s> {
    fn of(outcome: &'s Outcome) -> Self {
        Self {
            attack: outcome.attack.name(),
            ok: outcome.findings.is_empty(),
            connections: outcome.sent.connections,
            lines: outcome.sent.lines,
            bytes: outcome.sent.bytes,
            closed: outcome.sent.closed,
            stored: outcome.sent.stored.count,
            before: outcome.calm.get(..outcome.during.len()).unwrap_or_default(),
            after: outcome.calm.get(1..).unwrap_or_default(),
            during: &outcome.during,
            ratio: outcome.ratio(),
            slowest_ms: outcome.slowest.as_secs_f64() * 1_000.0,
            processor: &outcome.processor,
            attacker: &outcome.attacker,
            memory_mib: outcome.memory_mib,
            alarm_lines: outcome.alarms.lines,
            alarm_bytes: outcome.alarms.bytes,
            findings: &outcome.findings,
            directory: outcome.kept.as_deref(),
            seconds: outcome.took.as_secs_f64(),
        }
    }
}

impl Summary {
    /// Takes note of an attack.
    pub fn add(&mut self, outcome: Outcome) {
        self.0.push(outcome);
    }

    /// Whether the server held everything.
    #[must_use]
    pub fn is_right(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|outcome| outcome.findings.is_empty())
    }

    /// The result as one line of JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        let attacks = self.0.iter().map(JsonAttack::of).collect();
        serde_json::to_string(&Json { ok: self.is_right(), attacks })
    }

    /// The result as a table for a terminal of `width` columns, and what is not right below it.
    /// Where it is narrow, some columns are left out: the JSON has them all.
    #[must_use]
    pub fn table(&self, width: u16) -> String {
        let mut table = String::new();
        for left_out in 0..=COLUMNS.len() as u8 {
            table = self.columns_above(left_out);
            if columns(&table) <= width.into() {
                break;
            }
        }
        let mut text = format!("{table}\n\n{}", wrapped(LEGEND, width));
        for outcome in &self.0 {
            for finding in &outcome.findings {
                text += &format!("{}: {finding}\n", outcome.attack.name());
            }
            if let Some(kept) = &outcome.kept {
                text += &format!("{}: files kept in {kept}\n", outcome.attack.name());
            }
        }
        text
    }

    /// The table without the columns that are left out up to `left_out`.
    fn columns_above(&self, left_out: u8) -> String {
        let is_shown = |column: &u8| *column == 0 || *column > left_out;
        let headings = COLUMNS.iter().filter(|(_, column)| is_shown(column));
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.map(|(heading, _)| *heading));
        for outcome in &self.0 {
            let cells = outcome.cells().into_iter().zip(COLUMNS);
            table.add_row(cells.filter(|(_, (_, column))| is_shown(column)).map(|(cell, _)| cell));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(calm: &[f64], during: &[f64]) -> Outcome {
        let mut outcome = Outcome::new(Attack::ManyHalfLines);
        outcome.sent.lines = 172_942_268;
        (outcome.calm, outcome.during) = (calm.to_vec(), during.to_vec());
        outcome
    }

    #[test]
    fn a_machine_that_slows_down_takes_nothing_from_the_ratio() {
        let ratio = |calm: &[f64], during: &[f64]| outcome(calm, during).ratio();
        assert_eq!(ratio(&[400.0, 300.0, 200.0, 100.0], &[350.0, 250.0, 150.0]), Some(1.0));
        assert_eq!(ratio(&[400.0, 400.0, 100.0, 100.0], &[200.0, 125.0, 100.0]), Some(0.5));
        assert_eq!(ratio(&[400.0], &[]), None);
    }

    #[test]
    fn a_table_is_as_wide_as_it_may_be_and_tells_what_is_not_right() {
        let mut wrong = outcome(&[1_000_000.0, 1_000_000.0], &[1_000_000.0]);
        wrong.findings.push("a row is lost".to_owned());
        let summary = Summary(vec![wrong]);
        for (width, lines) in [(200, true), (100, false), (60, false)] {
            let table = summary.table(width);
            assert!(columns(&table) <= width.into(), "{table}");
            assert_eq!(table.contains("172,942,268"), lines, "{table}");
            for wanted in ["many-half-lines", "1.00", "NOT HELD", "lines: a row is lost"] {
                assert!(table.contains(wanted), "{wanted} in\n{table}");
            }
        }
        assert!(!summary.is_right());
    }
}
