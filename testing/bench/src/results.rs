//! What a question came to: cases, who was measured in each, and the figures of every round.
//!
//! Knows neither how anything was measured nor how it is shown.
//!
//! **Invariant**: a figure is the median of its rounds, and whatever stands in one case was
//! measured in turn, in one run, on one machine: only such figures are divided by each other.

use std::collections::BTreeMap;

use serde::Serialize;

use harness::numbers::median;

/// In what a figure is counted, and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// So many in a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// Mebibytes.
    Mebibytes,
}

/// Which of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The greater one.
    More,
    /// The smaller one.
    Less,
    /// Neither: it is about the measurement, and is compared with nothing.
    Neither,
}

/// What is measured; most questions have constants of their own.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// Its key in the JSON: `bets_per_second`.
    pub name: &'static str,
    /// Its heading in a table: `bets/s`.
    #[serde(skip)]
    pub heading: &'static str,
    /// In what it is counted.
    pub unit: Unit,
    /// Which way it should go.
    pub better: Better,
}

impl Measure {
    /// Of which less is better.
    #[must_use]
    pub const fn less(name: &'static str, heading: &'static str, unit: Unit) -> Self {
        Self { name, heading, unit, better: Better::Less }
    }
}

/// Acknowledged bets in a second.
pub static BETS_PER_SECOND: Measure = Measure {
    name: "bets_per_second",
    heading: "bets/s",
    unit: Unit::PerSecond,
    better: Better::More,
};

/// What was resident at the most.
pub static MEMORY: Measure = Measure::less("memory_mib", "MiB", Unit::Mebibytes);

/// What one round of one contestant measured.
pub type Sample = Vec<(&'static Measure, f64)>;

/// One measure of one contestant over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    #[serde(flatten)]
    pub measure: &'static Measure,
    /// The median of the rounds.
    pub median: f64,
    /// In the order of the rounds.
    pub rounds: Vec<f64>,
}

/// As what a contestant takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// This project. Its figures are shown as ratios to those of all others.
    Ours,
    /// This project, too, in the setting to which the others are compared.
    Baseline,
    /// What the machine allows at best.
    Limit,
    /// Another system, or a bare server.
    Peer,
    /// Another system on another machine: it is shown, and compared with nothing.
    Elsewhere,
}

/// One contestant in one case.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// What it is called in tables: `3 instances`, `Redis`.
    pub name: String,
    /// As what it takes part.
    pub role: Role,
    /// Why it has no figures, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// One for each measure that it has.
    pub figures: Vec<Figure>,
}

impl Standing {
    /// A contestant without figures.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, absent: None, figures: Vec::new() }
    }

    /// Adds what another round measured.
    pub fn add(&mut self, sample: &[(&'static Measure, f64)]) {
        for &(measure, value) in sample {
            match self.figures.iter_mut().find(|figure| figure.measure == measure) {
                Some(Figure { median: middle, rounds, .. }) => {
                    rounds.push(value);
                    *middle = median(rounds).unwrap_or(value);
                }
                None => self.figures.push(Figure { measure, median: value, rounds: vec![value] }),
            }
        }
    }

    /// Its median of `measure`.
    #[must_use]
    pub fn median(&self, measure: &Measure) -> Option<f64> {
        self.figures.iter().find(|figure| figure.measure == measure).map(|figure| figure.median)
    }

    /// Its median of `measure` by that of `other`, if both have one and it is to be compared.
    #[must_use]
    pub fn ratio(&self, other: &Self, measure: &Measure) -> Option<f64> {
        let (mine, its) = (self.median(measure)?, other.median(measure)?);
        (its != 0.0 && measure.better != Better::Neither).then_some(mine / its)
    }
}

/// One setting in which all contestants were measured, in turn.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// How a table calls it: `5 agencies, batches of 100`.
    pub name: String,
    /// The same for programs: `agencies` 5, `batch` 100.
    pub parameters: BTreeMap<&'static str, u64>,
    /// All contestants, also those that are absent.
    #[serde(rename = "contestants")]
    pub standings: Vec<Standing>,
    /// Every ratio of ours to another contestant.
    ratios: Vec<Ratio>,
}

/// A ratio as the JSON has it.
#[derive(Debug, Clone, Serialize)]
struct Ratio {
    contestant: String,
    to: String,
    figure: &'static str,
    ratio: f64,
}

impl Case {
    /// The case with all ratios.
    #[must_use]
    pub fn new(name: String, parameters: &[(&'static str, u64)], standings: Vec<Standing>) -> Self {
        let parameters = parameters.iter().copied().collect();
        let mut case = Self { name, parameters, standings, ratios: Vec::new() };
        let mut ratios = Vec::new();
        for ours in &case.standings {
            for other in case.others(ours) {
                for Figure { measure, .. } in &ours.figures {
                    let Some(ratio) = ours.ratio(other, measure) else { continue };
                    let (contestant, to) = (ours.name.clone(), other.name.clone());
                    ratios.push(Ratio { contestant, to, figure: measure.name, ratio });
                }
            }
        }
        case.ratios = ratios;
        case
    }

    /// All with which `standing`, if it is ours, is compared.
    pub fn others<'c>(&'c self, standing: &Standing) -> impl Iterator<Item = &'c Standing> {
        let is_compared = standing.role == Role::Ours;
        self.standings.iter().filter(move |other| {
            let is_other = !matches!(other.role, Role::Ours | Role::Elsewhere);
            is_compared && is_other && other.absent.is_none()
        })
    }
}

/// What one question came to.
#[derive(Debug, Clone, Serialize)]
pub struct BenchResult {
    /// The question's name on the command line, which names its file, too.
    pub question: &'static str,
    /// The question in words.
    pub title: &'static str,
    /// Setting by setting.
    pub cases: Vec<Case>,
    /// What a reader has to know to judge the figures.
    pub notes: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    static COST: Measure =
        Measure { name: "cost", heading: "cost", unit: Unit::Seconds, better: Better::Neither };

    #[test]
    fn json_has_every_ratio_of_ours_and_no_other() {
        let standing = |(name, role, rate)| {
            let mut standing = Standing::new(name, role);
            for rate in [rate, 0.0, 2.0 * rate] {
                standing.add(&[(&BETS_PER_SECOND, rate), (&COST, 1.0)]);
            }
            standing
        };
        let standings = [
            ("ours", Role::Ours, 30.0),
            ("limit", Role::Limit, 40.0),
            ("elsewhere", Role::Elsewhere, 60.0),
            ("empty", Role::Baseline, 15.0),
            ("stopped", Role::Peer, 0.0),
        ];
        let standings = standings.map(standing).to_vec();
        let case = Case::new("one".to_owned(), &[("agencies", 5)], standings);
        let json = serde_json::to_value(&case).unwrap();
        assert_eq!(json["parameters"]["agencies"], 5);
        let ratio = |to, ratio| {
            serde_json::json!({
                "contestant": "ours", "to": to, "figure": "bets_per_second", "ratio": ratio,
            })
        };
        assert_eq!(json["ratios"], serde_json::json!([ratio("limit", 0.75), ratio("empty", 2.0)]));
        assert_eq!(json["contestants"][2]["role"], "elsewhere");
        let figure = serde_json::json!({
            "name": "bets_per_second", "unit": "per_second", "better": "more",
            "median": 30.0, "rounds": [30.0, 0.0, 60.0],
        });
        assert_eq!(json["contestants"][0]["figures"][0], figure);
    }
}
