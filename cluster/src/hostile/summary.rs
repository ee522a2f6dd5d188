//! What the attacks came to: a table for people, one JSON line for programs.

use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use super::attack::{Attack, Tally};
use super::field::Alarms;
use crate::report::{grouped, median};

const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// One attack.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub attack: Attack,
    /// What was sent in all rounds.
    pub sent: Tally,
    /// Rows a second of the ordinary load without the attack, round by round.
    pub before: Vec<f64>,
    /// The same under it.
    pub during: Vec<f64>,
    /// The longest that an ordinary agency waited for an answer under it.
    pub slowest: Duration,
    /// What share of a processor the server took under the attack alone, round by round.
    pub processor: Vec<f64>,
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
            before: Vec::new(),
            during: Vec::new(),
            slowest: Duration::ZERO,
            processor: Vec::new(),
            memory_mib: 0.0,
            alarms: Alarms::default(),
            findings: Vec::new(),
            kept: None,
            took: Duration::ZERO,
        }
    }

    /// The median throughput under the attack, as a share of that without.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(median(&self.during)? / median(&self.before)?)
    }

    /// The median share of a processor.
    #[must_use]
    pub fn processor(&self) -> Option<f64> {
        median(&self.processor)
    }

    fn cells(&self) -> [String; 11] {
        let count = |value: Option<f64>| value.map(|value| grouped(value.round() as u64));
        let share = |value: Option<f64>| value.map(|value| format!("{value:.2}"));
        let of = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        [
            self.attack.name(),
            grouped(self.sent.connections),
            grouped(self.sent.lines),
            grouped(self.sent.bytes / 1_000_000),
            of(count(median(&self.before))),
            of(count(median(&self.during))),
            of(share(self.ratio())),
            format!("{:.1}", self.slowest.as_secs_f64() * 1_000.0),
            of(share(self.processor())),
            format!("{:.1}", self.memory_mib),
            if self.findings.is_empty() { "held".to_owned() } else { "NOT HELD".to_owned() },
        ]
    }
}

const HEADER: [&str; 11] = [
    "attack",
    "connections",
    "lines",
    "MB sent",
    "bets/s before",
    "during",
    "ratio",
    "slowest ms",
    "cpu alone",
    "MiB",
    "outcome",
];

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
    during: &'s [f64],
    ratio: Option<f64>,
    slowest_ms: f64,
    processor: &'s [f64],
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
            before: &outcome.before,
            during: &outcome.during,
            ratio: outcome.ratio(),
            slowest_ms: outcome.slowest.as_secs_f64() * 1_000.0,
            processor: &outcome.processor,
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

    /// The result as a table for a terminal, and what is not right below it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(STYLE).set_header(HEADER);
        for outcome in &self.0 {
            table.add_row(outcome.cells());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = format!("{}\n", table.trim_fmt());
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
}
