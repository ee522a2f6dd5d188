//! What a question came to: cases, who was measured in each, and the figures of every round.
//!
//! Knows neither how anything was measured nor how it is shown.
//!
//! **Invariant**: a figure is the median of its rounds, and whatever stands in one case was
//! measured in turn, in one run, on one machine: only such figures are divided by each other.

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

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
    /// Neither: it tells of the measurement, and is compared with nothing.
    Neither,
}

/// What is measured; most questions have constants of their own.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its key in the JSON: `bets_per_second`.
    pub name: &'static str,
    /// Its heading in a table: `bets/s`.
    pub heading: &'static str,
    /// In what it is counted.
    pub unit: Unit,
    /// Which way it should go.
    pub better: Better,
}

impl Measure {
    /// Of which more is better.
    #[must_use]
    pub const fn more(name: &'static str, heading: &'static str, unit: Unit) -> Self {
        Self { name, heading, unit, better: Better::More }
    }

    /// Of which less is better.
    #[must_use]
    pub const fn less(name: &'static str, heading: &'static str, unit: Unit) -> Self {
        Self { name, heading, unit, better: Better::Less }
    }

    /// That is compared with nothing.
    #[must_use]
    pub const fn aside(name: &'static str, heading: &'static str, unit: Unit) -> Self {
        Self { name, heading, unit, better: Better::Neither }
    }
}

/// Acknowledged bets in a second.
pub static BETS_PER_SECOND: Measure = Measure::more("bets_per_second", "bets/s", Unit::PerSecond);

/// What was resident at the most.
pub static MEMORY: Measure = Measure::less("memory_mib", "MiB", Unit::Mebibytes);

/// What one round of one contestant measured.
pub type Sample = Vec<(&'static Measure, f64)>;

/// One measure of one contestant over all rounds.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub measure: &'static Measure,
    /// In the order of the rounds; never empty.
    pub rounds: Vec<f64>,
}

impl Figure {
    /// The median of the rounds.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.rounds).unwrap_or(f64::NAN)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Figure", 5)?;
        fields.serialize_field("name", self.measure.name)?;
        fields.serialize_field("unit", &self.measure.unit)?;
        fields.serialize_field("better", &self.measure.better)?;
        fields.serialize_field("median", &self.median())?;
        fields.serialize_field("rounds", &self.rounds)?;
        fields.end()
    }
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
    /// Its figure of `measure`.
    #[must_use]
    pub fn figure(&self, measure: &Measure) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.measure == measure)
    }

    /// Its median of `measure` by that of `other`, if both have one and it is to be compared.
    #[must_use]
    pub fn ratio(&self, other: &Self, measure: &Measure) -> Option<f64> {
        let [mine, its] = [self.figure(measure)?.median(), other.figure(measure)?.median()];
        (its != 0.0 && measure.better != Better::Neither).then_some(mine / its)
    }
}

/// One setting in which all contestants were measured, in turn.
#[derive(Debug, Clone)]
pub struct Case {
    /// How a table calls it: `5 agencies, batches of 100`.
    pub name: String,
    /// The same for programs: `agencies` 5, `batch` 100.
    pub parameters: Vec<(&'static str, u64)>,
    /// Everybody who took part, or would have.
    pub standings: Vec<Standing>,
}

impl Case {
    /// Everybody with whom `standing`, if it is ours, is compared.
    pub fn others<'c>(&'c self, standing: &Standing) -> impl Iterator<Item = &'c Standing> {
        let is_compared = standing.role == Role::Ours;
        self.standings.iter().filter(move |other| {
            let is_other = !matches!(other.role, Role::Ours | Role::Elsewhere);
            is_compared && is_other && other.absent.is_none()
        })
    }
}

/// A ratio as the JSON has it.
#[derive(Serialize)]
struct Ratio<'c> {
    contestant: &'c str,
    to: &'c str,
    figure: &'static str,
    ratio: f64,
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ratios = Vec::new();
        for standing in &self.standings {
            for other in self.others(standing) {
                for figure in &standing.figures {
                    let Some(ratio) = standing.ratio(other, figure.measure) else { continue };
                    let (contestant, to) = (standing.name.as_str(), other.name.as_str());
                    ratios.push(Ratio { contestant, to, figure: figure.measure.name, ratio });
                }
            }
        }
        let parameters: serde_json::Map<_, _> = self
            .parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let mut fields = serializer.serialize_struct("Case", 4)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("parameters", &parameters)?;
        fields.serialize_field("contestants", &self.standings)?;
        fields.serialize_field("ratios", &ratios)?;
        fields.end()
    }
}

/// What one question came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The question's name on the command line, which names its files, too.
    pub question: &'static str,
    /// The question in words.
    pub title: String,
    /// Setting by setting.
    pub cases: Vec<Case>,
    /// What a reader has to know to judge the figures.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    static RATE: Measure = Measure::more("rate", "n/s", Unit::PerSecond);
    static COST: Measure = Measure::aside("cost", "cost", Unit::Seconds);

    fn standing(name: &str, role: Role, rounds: &[f64]) -> Standing {
        let figures = [&RATE, &COST].map(|measure| Figure { measure, rounds: rounds.to_vec() });
        let figures = figures.to_vec();
        Standing { name: name.to_owned(), role, absent: None, figures }
    }

    #[test]
    fn json_has_every_ratio_of_ours_and_of_nobody_else() {
        let case = Case {
            name: "one".to_owned(),
            parameters: vec![("agencies", 5)],
            standings: vec![
                standing("ours", Role::Ours, &[30.0]),
                standing("limit", Role::Limit, &[40.0]),
                standing("elsewhere", Role::Elsewhere, &[60.0]),
                standing("empty", Role::Baseline, &[15.0]),
                standing("stopped", Role::Peer, &[0.0]),
            ],
        };
        let json = serde_json::to_value(&case).unwrap();
        assert_eq!(json["parameters"]["agencies"], 5);
        assert_eq!(json["ratios"].as_array().unwrap().len(), 2);
        for (place, to, ratio) in [(0, "limit", 0.75), (1, "empty", 2.0)] {
            assert_eq!(json["ratios"][place]["to"], to);
            assert_eq!(json["ratios"][place]["ratio"], ratio);
        }
        assert_eq!(json["contestants"][2]["role"], "elsewhere");
        assert_eq!(json["contestants"][0]["figures"][0]["rounds"][0], 30.0);
    }
}
