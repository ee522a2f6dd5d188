//! The outcomes of the attacks: a table for people, one JSON line for programs.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::attack::Report;
use super::target_server::Alarms;
use harness::numbers::{grouped, median};
use harness::terminal::{STYLE, columns, wrapped};

/// One attack.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Which one.
    pub attack: String,
    /// What was sent in all rounds.
    pub sent: Report,
    /// Rows a second of the ordinary load without the attack: before the first round, and after
    /// each.
    pub without: Vec<f64>,
    /// The same under it, round by round.
    pub under: Vec<f64>,
    /// The longest that an ordinary agency waited for an answer under it.
    pub slowest: Duration,
    /// What share of a processor the server took under the attack alone, round by round.
    pub processor: Vec<f64>,
    /// What the attacker itself took then.
    pub attacker: Vec<f64>,
    /// The most memory that the server had resident, in MiB.
    pub memory_mib: f64,
    /// The alarms of the server's log.
    pub alarms: Alarms,
    /// What is wrong.
    pub findings: Vec<String>,
    /// Where the files are, if something is wrong.
    pub directory: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// What is left of the throughput: each round under the attack as a share of the mean of the
    /// windows without it on both sides, so that a machine which gets slower or faster meanwhile
    /// does not count; of these the median.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let rounds = self.under.iter().zip(self.without.windows(2));
        let ratio = |(under, around): (&f64, &[f64])| 2.0 * under / around.iter().sum::<f64>();
        median(&rounds.map(ratio).collect::<Vec<_>>())
    }

    /// The median share of a processor.
    #[must_use]
    pub fn processor(&self) -> Option<f64> {
        median(&self.processor)
    }

    /// The headings, which of them are left out first where it is narrow (0 never is), and the
    /// cells below.
    fn cells(&self) -> [(&'static str, u8, String); 12] {
        let text = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let rate = |values: &[f64]| text(median(values).map(|rate| grouped(rate.round() as u64)));
        let share = |value: Option<f64>| text(value.map(|value| format!("{value:.2}")));
        let outcome = if self.findings.is_empty() { "held" } else { "NOT HELD" };
        [
            ("attack", 0, self.attack.clone()),
            ("connected", 2, grouped(self.sent.connections)),
            ("lines", 3, grouped(self.sent.lines)),
            ("MB", 1, grouped(self.sent.bytes / 1_000_000)),
            ("without/s", 4, rate(&self.without)),
            ("under/s", 5, rate(&self.under)),
            ("ratio", 0, share(self.ratio())),
            ("ms", 6, self.slowest.as_millis().to_string()),
            ("server", 7, share(self.processor())),
            ("attacker", 8, share(median(&self.attacker))),
            ("MiB", 9, format!("{:.0}", self.memory_mib.ceil())),
            ("outcome", 0, outcome.to_owned()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "attack": self.attack,
            "ok": self.findings.is_empty(),
            "connections": self.sent.connections,
            "lines": self.sent.lines,
            "bytes": self.sent.bytes,
            "closed": self.sent.closed,
            "stored": self.sent.stored.values().map(|head| head.rows).sum::<u64>(),
            "before": self.without.get(..self.under.len()).unwrap_or_default(),
            "after": self.without.get(1..).unwrap_or_default(),
            "during": self.under,
            "ratio": self.ratio(),
            "slowest_ms": self.slowest.as_secs_f64() * 1_000.0,
            "processor": self.processor,
            "attacker": self.attacker,
            "memory_mib": self.memory_mib,
            "alarm_lines": self.alarms.lines,
            "alarm_bytes": self.alarms.bytes,
            "findings": self.findings,
            "directory": self.directory,
            "seconds": self.seconds,
        })
    }
}

const LEGEND: &str = "without/s, under/s: bets a second without and under the attack; ms: the \
                      longest wait of an agency; server, attacker: processors taken by the attack \
                      alone.";

/// Whether the server held against all attacks.
#[must_use]
pub fn is_right(outcomes: &[Outcome]) -> bool {
    !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.findings.is_empty())
}

/// One line of JSON: what `--json` promises. Keys are only ever added.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> String {
    let attacks: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
    json!({ "ok": is_right(outcomes), "attacks": attacks }).to_string()
}

/// A table for a terminal of `width` columns, and what is wrong below it. Where it is narrow, some
/// columns are left out: the JSON has them all.
#[must_use]
pub fn table(outcomes: &[Outcome], width: u16) -> String {
    let fits = |table: &String| columns(table) <= width.into();
    let narrower = || (0..=9).map(|left_out| columns_above(outcomes, left_out));
    let table = narrower().find(fits).or_else(|| narrower().next_back()).unwrap_or_default();
    let mut text = format!("{table}\n\n{}", wrapped(LEGEND, width));
    for Outcome { attack, findings, directory, .. } in outcomes {
        text.extend(findings.iter().map(|finding| format!("{attack}: {finding}\n")));
        text.extend(directory.iter().map(|kept| format!("{attack}: files kept in {kept}\n")));
    }
    text
}

/// The table without the columns that are left out up to `left_out`.
fn columns_above(outcomes: &[Outcome], left_out: u8) -> String {
    let shown = |outcome: &Outcome| {
        let cells = outcome.cells().into_iter();
        cells.filter(move |(_, column, _)| *column == 0 || *column > left_out)
    };
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(shown(&Outcome::default()).map(|(heading, ..)| heading));
    for outcome in outcomes {
        table.add_row(shown(outcome).map(|(.., cell)| cell));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(without: &[f64], under: &[f64]) -> Outcome {
        let (without, under) = (without.to_vec(), under.to_vec());
        Outcome { attack: "many-half-lines".to_owned(), without, under, ..Outcome::default() }
    }

    #[test]
    fn a_machine_that_slows_down_does_not_change_the_ratio() {
        let ratio = |without: &[f64], under: &[f64]| outcome(without, under).ratio();
        assert_eq!(ratio(&[400.0, 300.0, 200.0, 100.0], &[350.0, 250.0, 150.0]), Some(1.0));
        assert_eq!(ratio(&[400.0, 400.0, 100.0, 100.0], &[200.0, 125.0, 100.0]), Some(0.5));
        assert_eq!(ratio(&[400.0], &[]), None);
    }

    #[test]
    fn a_table_fits_its_width_and_has_what_is_wrong() {
        let mut wrong = outcome(&[1_000_000.0, 1_000_000.0], &[1_000_000.0]);
        wrong.sent.lines = 172_942_268;
        wrong.findings.push("a row is lost".to_owned());
        let outcomes = [wrong];
        for (width, lines) in [(200, true), (100, false), (60, false)] {
            let table = table(&outcomes, width);
            assert!(columns(&table) <= width.into(), "{table}");
            assert_eq!(table.contains("172,942,268"), lines, "{table}");
            for wanted in ["many-half-lines", "1.00", "NOT HELD", "lines: a row is lost"] {
                assert!(table.contains(wanted), "{wanted} in\n{table}");
            }
        }
        assert!(!is_right(&outcomes));
    }
}
