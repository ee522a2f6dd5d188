//! An outcome as a picture: SVG, written here, for it is a few rectangles with their texts.
//!
//! Each case has a scale of its own, for only what stands in one case is compared: its longest
//! bar is as long as there is room. A bar is the median, the thin line on it goes from the least
//! round to the greatest. The picture is dark where its reader's screen is.

use std::fmt::Write as _;

use super::outcome::{Better, Case, Measure, Outcome, Role, Standing};
use super::table::value;

const WIDTH: u32 = 720;
const MARGIN: u32 = 16;
const TITLE_HEIGHT: u32 = 56;
const CASE_HEIGHT: u32 = 34;
const BAR_HEIGHT: u32 = 14;
const BAR_PITCH: u32 = 20;
/// Where bars start.
const BARS_LEFT: u32 = 170;
/// How long the longest is.
const BAR_LENGTH: u32 = 430;

/// How many characters of a name are shown.
const NAME_CHARACTERS: usize = 22;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .case { font-weight: 600 }
  .name { text-anchor: end } .quiet { fill: #57606a }
  .paper { fill: #ffffff } .ours { fill: #0969da } .limit { fill: #8c959f } .peer { fill: #d4a72c }
  .range { stroke: #24292f; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .paper { fill: #0d1117 }
    .ours { fill: #4493f8 } .limit { fill: #6e7681 } .peer { fill: #bb8009 }
    .range { stroke: #e6edf3 }
  }
";

/// The picture of the outcome's plotted measure.
#[must_use]
pub fn svg(outcome: &Outcome) -> String {
    let measure = outcome.plotted;
    let mut body = String::new();
    let mut top = TITLE_HEIGHT;
    for case in &outcome.cases {
        top = draw_case(&mut body, case, measure, top);
    }
    let height = top + MARGIN;
    let better = match measure.better {
        Better::More => ", more is better",
        Better::Less => ", less is better",
        Better::Neither => "",
    };
    let (title, heading) = (escaped(&outcome.title), escaped(measure.heading));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n\
         <text class=\"quiet\" x=\"{MARGIN}\" y=\"46\">{heading}{better}</text>\n{body}</svg>\n"
    )
}

/// Draws a case from `top` on, and tells where it ends.
fn draw_case(body: &mut String, case: &Case, measure: &'static Measure, top: u32) -> u32 {
    let (name, y) = (escaped(&case.name), top + 22);
    let _ = writeln!(body, "<text class=\"case\" x=\"{MARGIN}\" y=\"{y}\">{name}</text>");
    let rounds = case.standings.iter().filter_map(|standing| standing.figure(measure));
    let greatest = rounds.flat_map(|figure| &figure.rounds).fold(0.0_f64, |most, it| most.max(*it));
    let mut top = top + CASE_HEIGHT;
    for standing in &case.standings {
        draw_standing(body, standing, measure, greatest, top);
        top += BAR_PITCH;
    }
    top
}

fn draw_standing(
    body: &mut String,
    standing: &Standing,
    measure: &'static Measure,
    greatest: f64,
    top: u32,
) {
    let name: String = standing.name.chars().take(NAME_CHARACTERS).collect();
    let (name, x, y) = (escaped(&name), BARS_LEFT - 8, top + 11);
    let _ = writeln!(body, "<text class=\"name\" x=\"{x}\" y=\"{y}\">{name}</text>");
    let Some(figure) = standing.figure(measure) else {
        let reason = if standing.absent.is_some() { "not measured" } else { "" };
        let _ = writeln!(body, "<text class=\"quiet\" x=\"{BARS_LEFT}\" y=\"{y}\">{reason}</text>");
        return;
    };
    let length = |value: f64| f64::from(BAR_LENGTH) * value / greatest;
    let class = match standing.role {
        Role::Ours => "ours",
        Role::Baseline | Role::Limit => "limit",
        Role::Peer | Role::Elsewhere => "peer",
    };
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{BARS_LEFT}\" y=\"{top}\" width=\"{:.1}\" \
         height=\"{BAR_HEIGHT}\"/>",
        length(figure.median())
    );
    let least = figure.rounds.iter().fold(f64::INFINITY, |least, it| least.min(*it));
    let most = figure.rounds.iter().fold(0.0_f64, |most, it| most.max(*it));
    let [from, to] = [least, most].map(|value| f64::from(BARS_LEFT) + length(value));
    let middle = top + BAR_HEIGHT / 2;
    let _ = writeln!(
        body,
        "<line class=\"range\" x1=\"{from:.1}\" y1=\"{middle}\" x2=\"{to:.1}\" y2=\"{middle}\"/>"
    );
    let (x, text) = (to.max(f64::from(BARS_LEFT)) + 8.0, value(figure.median(), measure.unit));
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y}\">{text}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Figure, Unit};

    static RATE: Measure = Measure::more("rate", "bets/s", Unit::PerSecond);

    #[test]
    fn every_contestant_has_its_bar_or_says_why_not() {
        let standing = |name: &str, rounds: &[f64]| Standing {
            name: name.to_owned(),
            role: Role::Ours,
            absent: rounds.is_empty().then(|| "not installed".to_owned()),
            figures: match rounds {
                [] => Vec::new(),
                rounds => vec![Figure { measure: &RATE, rounds: rounds.to_vec() }],
            },
        };
        let outcome = Outcome {
            question: "storing",
            title: "more & more <bets>".to_owned(),
            cases: vec![Case {
                name: "one".to_owned(),
                parameters: Vec::new(),
                standings: vec![standing("ours", &[50.0, 100.0, 75.0]), standing("Redis", &[])],
            }],
            notes: Vec::new(),
            plotted: &RATE,
        };
        let svg = svg(&outcome);
        assert!(svg.contains("<title>more &amp; more &lt;bets&gt;</title>"), "{svg}");
        assert!(svg.contains("width=\"322.5\""), "three quarters of the longest: {svg}");
        assert!(svg.contains("x1=\"385.0\"") && svg.contains("x2=\"600.0\""), "{svg}");
        assert!(svg.contains("more is better") && svg.contains(">not measured<"), "{svg}");
    }
}
