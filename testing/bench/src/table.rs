//! A result as a table for people.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::results::{BenchResult, Case, Measure, Unit};
use harness::numbers::grouped;
use harness::terminal::{STYLE, wrapped};

/// The result as a table for a terminal of `width` columns; where it is narrow, headings are
/// wrapped. Below each contestant of ours are its ratios to all others, figure by figure.
#[must_use]
pub fn table(result: &BenchResult, width: u16) -> String {
    let measures = measures(result);
    let mut text = wrapped(&format!("{}: {}", result.question, result.title), width);
    for case in &result.cases {
        text.push_str(&format!("\n{}\n{}\n", case.name, case_table(case, &measures, width)));
        for standing in &case.standings {
            if let Some(reason) = &standing.absent {
                text.push_str(&wrapped(&format!("{}: {reason}", standing.name), width));
            }
        }
    }
    result.notes.iter().fold(text, |text, note| text + "\n" + &wrapped(note, width))
}

/// All measures of all contestants, in the order in which they first come.
fn measures(result: &BenchResult) -> Vec<&'static Measure> {
    let mut measures = Vec::new();
    for figure in result.cases.iter().flat_map(|case| &case.standings).flat_map(|s| &s.figures) {
        if !measures.contains(&figure.measure) {
            measures.push(figure.measure);
        }
    }
    measures
}

fn case_table(case: &Case, measures: &[&'static Measure], width: u16) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    let headings = measures.iter().map(|measure| measure.heading.to_owned());
    table.set_header([String::new()].into_iter().chain(headings));
    let mut add_row = |name: String, cell: &dyn Fn(&Measure) -> Option<String>| {
        let cells = measures.iter().map(|measure| cell(measure).unwrap_or_default());
        table.add_row([name].into_iter().chain(cells));
    };
    for standing in case.standings.iter().filter(|standing| standing.absent.is_none()) {
        add_row(standing.name.clone(), &|it| standing.median(it).map(|of| value(of, it.unit)));
        for other in case.others(standing) {
            let ratio = |measure: &Measure| standing.ratio(other, measure).map(times);
            add_row(format!("  to {}", other.name), &ratio);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// `0.74×`, `12×`.
fn times(ratio: f64) -> String {
    if ratio < 9.995 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") }
}

/// A value with as many digits as mean something.
fn value(value: f64, unit: Unit) -> String {
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
    use crate::results::{BETS_PER_SECOND, Role, Standing};
    use harness::terminal::columns;

    static WAIT: Measure = Measure::less("p50_ms", "p50 ms", Unit::Milliseconds);

    #[test]
    fn a_table_fits_and_has_figures_ratios_and_reasons() {
        let standing = |name, role, rate, wait| {
            let mut standing = Standing::new(name, role);
            standing.add(&[(&BETS_PER_SECOND, rate), (&WAIT, wait)]);
            standing
        };
        let absent = Some("not installed: apt-get install it".to_owned());
        let standings = vec![
            standing("1 instance", Role::Ours, 1_200_000.0, 0.4),
            standing("limit", Role::Limit, 1_600_000.0, 0.1),
            Standing { absent, ..Standing::new("Redis", Role::Peer) },
        ];
        let result = BenchResult {
            question: "storing",
            title: "how many bets?",
            cases: vec![Case::new("5 agencies".to_owned(), &[], standings)],
            notes: vec!["note"],
        };
        for width in [80, 40] {
            let text = table(&result, width);
            assert!(columns(&text) <= width.into(), "{text}");
            for wanted in ["4.00×", "1,200,000", "0.75×", "  to limit", "Redis: not installed:"] {
                assert!(text.contains(wanted), "{wanted} in\n{text}");
            }
        }
        assert_eq!(times(12.4), "12×");
    }
}
