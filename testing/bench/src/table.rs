//! An outcome as a table for people.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::outcome::{Better, Case, Measure, Outcome, Standing, Unit};
use harness::numbers::grouped;
use harness::terminal::{STYLE, columns, wrapped};

/// The outcome as a table for a terminal of `width` columns. Below each contestant of ours are its
/// ratios to all others, figure by figure. Where it is narrow, some figures are left out: the JSON
/// has them all.
#[must_use]
pub fn table(outcome: &Outcome, width: u16) -> String {
    let mut measures = measures(outcome);
    let is_too_wide = |measures: &[&'static Measure]| {
        outcome.cases.iter().any(|case| columns(&case_table(case, measures)) > width.into())
    };
    let mut left_out = Vec::new();
    while measures.len() > 1 && is_too_wide(&measures) {
        let aside = measures.iter().rposition(|measure| measure.better == Better::Neither);
        left_out.push(measures.remove(aside.unwrap_or(measures.len() - 1)).heading);
    }
    let mut text = wrapped(&format!("{}: {}", outcome.question, outcome.title), width);
    for case in &outcome.cases {
        text.push_str(&format!("\n{}\n{}\n", case.name, case_table(case, &measures)));
        for absent in &case.standings {
            if let Some(reason) = &absent.absent {
                text.push_str(&wrapped(&format!("{}: {reason}", absent.name), width));
            }
        }
    }
    for note in &outcome.notes {
        text.push('\n');
        text.push_str(&wrapped(note, width));
    }
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        text.push('\n');
        let note =
            format!("Left out, as the terminal is too narrow: {left_out}. The JSON has all.");
        text.push_str(&wrapped(&note, width));
    }
    text
}

/// Everything that anybody measured, in the order in which it first comes.
fn measures(outcome: &Outcome) -> Vec<&'static Measure> {
    let mut measures = Vec::new();
    for figure in outcome.cases.iter().flat_map(|case| &case.standings).flat_map(|s| &s.figures) {
        if !measures.contains(&figure.measure) {
            measures.push(figure.measure);
        }
    }
    measures
}

fn case_table(case: &Case, measures: &[&'static Measure]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    let headings = measures.iter().map(|measure| measure.heading);
    table.set_header([""].into_iter().chain(headings));
    for standing in case.standings.iter().filter(|standing| standing.absent.is_none()) {
        let values = measures.iter().map(|measure| shown(standing, measure));
        table.add_row([standing.name.clone()].into_iter().chain(values));
        for other in case.others(standing) {
            let ratios = measures.iter().map(|measure| ratio(standing, other, measure));
            table.add_row([format!("  to {}", other.name)].into_iter().chain(ratios));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn ratio(standing: &Standing, other: &Standing, measure: &Measure) -> String {
    standing.ratio(other, measure).map(times).unwrap_or_default()
}

/// `0.74×`, `12×`.
#[must_use]
pub fn times(ratio: f64) -> String {
    if ratio < 9.995 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") }
}

fn shown(standing: &Standing, measure: &Measure) -> String {
    standing.figure(measure).map(|figure| value(figure.median(), measure.unit)).unwrap_or_default()
}

/// A value with as many digits as mean something.
#[must_use]
pub fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond | Unit::Nanoseconds => grouped(value.round() as u64),
        Unit::Seconds => format!("{value:.3}"),
        Unit::Milliseconds => format!("{value:.2}"),
        Unit::Mebibytes => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Figure, Role};

    static RATE: Measure = Measure::more("rate", "bets/s", Unit::PerSecond);
    static WAIT: Measure = Measure::less("p50_ms", "p50 ms", Unit::Milliseconds);

    #[test]
    fn a_table_fits_and_has_figures_ratios_and_reasons() {
        let standing = |name: &str, role, figures: &[(&'static Measure, f64)]| Standing {
            name: name.to_owned(),
            role,
            absent: figures.is_empty().then(|| "not installed: apt-get install it".to_owned()),
            figures: figures
                .iter()
                .map(|&(measure, value)| Figure { measure, rounds: vec![value] })
                .collect(),
        };
        let case = Case {
            name: "5 agencies".to_owned(),
            parameters: Vec::new(),
            standings: vec![
                standing("1 instance", Role::Ours, &[(&RATE, 1_200_000.0), (&WAIT, 0.4)]),
                standing("limit", Role::Limit, &[(&RATE, 1_600_000.0), (&WAIT, 0.1)]),
                standing("Redis", Role::Peer, &[]),
            ],
        };
        let outcome = Outcome {
            question: "storing",
            title: "how many bets?".to_owned(),
            cases: vec![case],
            notes: vec!["note".to_owned()],
        };
        for (width, wait) in [(60, true), (30, false)] {
            let text = table(&outcome, width);
            assert!(columns(&text) <= width.into(), "{text}");
            assert_eq!(text.contains("p50 ms") && text.contains("4.00×"), wait, "{text}");
            let is_told = text.replace('\n', " ").contains("too narrow: p50 ms.");
            assert_eq!(is_told, !wait, "{text}");
            for wanted in ["1,200,000", "0.75×", "  to limit", "Redis: not installed:"] {
                assert!(text.contains(wanted), "{wanted} in\n{text}");
            }
        }
        assert_eq!(times(12.4), "12×");
    }
}
