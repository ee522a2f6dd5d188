//! An answer as a table for people.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};

use super::answer::{Answer, Case, Measure, Standing, Unit};
use crate::report::grouped;

const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The answer as a table for a terminal of `width` columns; unknown is taken as wide. Below each
/// contestant of ours are its ratios to all others, figure by figure.
#[must_use]
pub fn table(answer: &Answer, width: Option<u16>) -> String {
    let measures = measures(answer);
    let mut text = format!("{}: {}\n", answer.question, answer.title);
    for case in &answer.cases {
        text.push_str(&format!("\n{}\n{}\n", case.name, case_table(case, &measures, width)));
        for absent in &case.standings {
            if let Some(reason) = &absent.absent {
                text.push_str(&format!("{}: {reason}\n", absent.name));
            }
        }
    }
    for note in &answer.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    text
}

/// Everything that anybody measured, in the order in which it first comes.
fn measures(answer: &Answer) -> Vec<&'static Measure> {
    let mut measures = Vec::new();
    for figure in answer.cases.iter().flat_map(|case| &case.standings).flat_map(|s| &s.figures) {
        if !measures.contains(&figure.measure) {
            measures.push(figure.measure);
        }
    }
    measures
}

fn case_table(case: &Case, measures: &[&'static Measure], width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        table.set_width(width);
    }
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
        column.set_constraint(ColumnConstraint::ContentWidth);
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
        Unit::PerSecond | Unit::Nanoseconds | Unit::Count => grouped(value.round() as u64),
        Unit::Seconds => format!("{value:.3}"),
        Unit::Milliseconds => format!("{value:.2}"),
        Unit::Mebibytes => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answer::{Better, Figure, Role};

    static RATE: Measure =
        Measure { name: "rate", heading: "bets/s", unit: Unit::PerSecond, better: Better::More };
    static WAIT: Measure = Measure {
        name: "p50_ms",
        heading: "p50 ms",
        unit: Unit::Milliseconds,
        better: Better::Less,
    };

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
        let answer = Answer {
            question: "storing",
            title: "how many bets?".to_owned(),
            cases: vec![case],
            notes: vec!["note".to_owned()],
            plotted: &RATE,
        };
        let text = table(&answer, Some(60));
        for line in text.lines() {
            assert!(line.chars().count() <= 60, "{line}");
        }
        for wanted in ["1,200,000", "0.75×", "4.00×", "  to limit", "Redis: not installed: apt"] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert_eq!(times(12.4), "12×");
    }
}
