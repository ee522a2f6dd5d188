//! The results of the attacks: a table for people, one JSON line for programs.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::attack::Report;
use super::target_server::Alarms;
use harness::numbers::median;
use harness::terminal::STYLE;

/// One attack.
#[derive(Debug, Default)]
pub struct AttackResult {
    /// Which one.
    pub attack: String,
    /// What was sent in all rounds.
    pub sent: Report,
    /// Rows a second of the ordinary load without the attack: before the first round, and after
    /// each.
    pub without: Vec<f64>,
    /// The same under it, round by round.
    pub under: Vec<f64>,
    /// The longest that an ordinary agency waited for an answer.
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

impl AttackResult {
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

    /// The cells below [`HEADINGS`].
    fn cells(&self) -> [String; HEADINGS.len()] {
        let share = |value: Option<f64>| value.map_or("–".to_owned(), |it| format!("{it:.2}"));
        let result = if self.findings.is_empty() { "held" } else { "NOT HELD" };
        [
            self.attack.clone(),
            share(self.ratio()),
            self.slowest.as_millis().to_string(),
            share(self.processor()),
            share(median(&self.attacker)),
            format!("{:.0}", self.memory_mib.ceil()),
            result.to_owned(),
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

/// What a table shows; the JSON has more.
const HEADINGS: [&str; 7] = ["attack", "ratio", "ms", "server", "attacker", "MiB", "outcome"];

const LEGEND: &str = "\
ratio: the throughput left under the attack; ms: the longest wait of an agency;
server, attacker: processors taken by the attack alone.";

/// Whether the server held against all attacks.
#[must_use]
pub fn is_right(results: &[AttackResult]) -> bool {
    !results.is_empty() && results.iter().all(|result| result.findings.is_empty())
}

/// One line of JSON: what `--json` promises. Keys are only ever added.
#[must_use]
pub fn json(results: &[AttackResult]) -> String {
    let attacks: Vec<Value> = results.iter().map(AttackResult::json).collect();
    json!({ "ok": is_right(results), "attacks": attacks }).to_string()
}

/// A table, and what is wrong below it.
#[must_use]
pub fn table(results: &[AttackResult]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(HEADINGS).add_rows(results.iter().map(AttackResult::cells));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{}\n\n{LEGEND}\n", table.trim_fmt());
    for AttackResult { attack, findings, directory, .. } in results {
        text.extend(findings.iter().map(|finding| format!("{attack}: {finding}\n")));
        text.extend(directory.iter().map(|kept| format!("{attack}: files kept in {kept}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::terminal::columns;

    fn result(without: &[f64], under: &[f64]) -> AttackResult {
        let (without, under) = (without.to_vec(), under.to_vec());
        AttackResult {
            attack: "many-half-lines".to_owned(),
            without,
            under,
            ..AttackResult::default()
        }
    }

    #[test]
    fn a_machine_that_slows_down_does_not_change_the_ratio() {
        let ratio = |without: &[f64], under: &[f64]| result(without, under).ratio();
        assert_eq!(ratio(&[400.0, 300.0, 200.0, 100.0], &[350.0, 250.0, 150.0]), Some(1.0));
        assert_eq!(ratio(&[400.0, 400.0, 100.0, 100.0], &[200.0, 125.0, 100.0]), Some(0.5));
        assert_eq!(ratio(&[400.0], &[]), None);
    }

    #[test]
    fn a_table_fits_80_columns_and_has_what_is_wrong() {
        let mut wrong = result(&[1_000_000.0, 1_000_000.0], &[1_000_000.0]);
        wrong.findings.push("a row is lost".to_owned());
        let results = [wrong];
        let table = table(&results);
        assert!(columns(&table) <= 80, "{table}");
        for wanted in ["many-half-lines", "1.00", "NOT HELD", "lines: a row is lost"] {
            assert!(table.contains(wanted), "{wanted} in\n{table}");
        }
        assert!(!is_right(&results));
    }
}
