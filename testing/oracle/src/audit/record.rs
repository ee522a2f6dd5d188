//! The closed agencies and the draw's record against the files of bets.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;

use anyhow::Context as _;
use serde::Deserialize;

use super::{AgencyAudit, Expected, Problem, brief};
use harness::log::LogLine;
use harness::volume::Volume;

/// What `draw.json` must have; it may have more.
#[derive(Deserialize)]
struct Draw {
    winning_number: u16,
    agencies_amount: u32,
    bets: u64,
    agencies: Vec<DrawnAgency>,
}

#[derive(Deserialize)]
struct DrawnAgency {
    agency: u32,
    rows: u64,
    digest: String,
    winners: Vec<String>,
}

/// When the draw was held, as `draw.json` says.
///
/// # Errors
/// There is no such record.
pub fn time_of_draw(volume: &Volume) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Held {
        time: String,
    }
    let text = fs::read(volume.draw()).context("read draw.json")?;
    Ok(serde_json::from_slice::<Held>(&text).context("read draw.json")?.time)
}

/// The draws that the lines of a log tell of, but for the one that was held at `time`.
pub fn other_draws<'l>(
    lines: impl Iterator<Item = &'l str>,
    time: &str,
) -> impl Iterator<Item = &'l str> {
    lines.filter(move |line| {
        let line = LogLine(line);
        line.is("draw", "success") && line.field("time") != Some(time)
    })
}

/// Every agency has closed, and no other. A close that stands twice changes nothing.
pub(super) fn check_closes(
    expected: &Expected<'_>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<()> {
    let text = match fs::read_to_string(expected.volume.agencies_closed()) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.context("read agencies_closed.txt")?,
    };
    let closed: BTreeSet<&str> = text.lines().collect();
    let all: Vec<String> =
        (1..=expected.bets.agencies()).map(|agency| agency.to_string()).collect();
    let wanted: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    let mut tell = |difference: Vec<&&str>, what: &str| {
        if !difference.is_empty() {
            problems.push(Problem::Closed(format!("{} {what}", brief(&difference))));
        }
    };
    tell(wanted.difference(&closed).collect(), "have not closed");
    tell(closed.difference(&wanted).collect(), "are no agencies of this lottery");
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(Problem::Closed("its last line has no end".to_owned()));
    }
    Ok(())
}

/// The draw is over exactly these bets, and names exactly these winners.
pub(super) fn check_draw(
    expected: &Expected<'_>,
    agencies: &[AgencyAudit],
    problems: &mut Vec<Problem>,
) {
    let read = fs::read(expected.volume.draw()).map_err(|error| error.to_string());
    let draw = read.and_then(|bytes| {
        serde_json::from_slice::<Draw>(&bytes).map_err(|error| error.to_string())
    });
    let draw = match draw {
        Ok(draw) => draw,
        Err(error) => {
            problems.push(Problem::NoDraw(error));
            return;
        }
    };
    let bets: u64 = agencies.iter().map(|agency| agency.bets).sum();
    check("winning_number", draw.winning_number, expected.winner_number, problems);
    check("agencies_amount", draw.agencies_amount, expected.bets.agencies(), problems);
    check("bets", draw.bets, bets, problems);
    let recorded: Vec<u32> = draw.agencies.iter().map(|drawn| drawn.agency).collect();
    let wanted: Vec<u32> = agencies.iter().map(|audited| audited.agency).collect();
    if recorded != wanted {
        let (recorded, wanted) = (brief(&recorded), brief(&wanted));
        let what = "the list of agencies".to_owned();
        problems.push(Problem::Draw { what, recorded, wanted });
        return;
    }
    for (drawn, audited) in draw.agencies.iter().zip(agencies) {
        check_agency(drawn, audited, problems);
    }
}

fn check_agency(drawn: &DrawnAgency, audited: &AgencyAudit, problems: &mut Vec<Problem>) {
    let name = |what: &str| format!("{what} of agency {}", audited.agency);
    check(name("rows"), drawn.rows, audited.bets, problems);
    check(name("digest"), &drawn.digest, &audited.digest, problems);
    if drawn.winners != audited.winners {
        let (recorded, wanted) = (brief(&drawn.winners), brief(&audited.winners));
        problems.push(Problem::Draw { what: name("winners"), recorded, wanted });
    }
}

fn check<T: PartialEq + Display>(
    what: impl Display,
    recorded: T,
    wanted: T,
    problems: &mut Vec<Problem>,
) {
    if recorded != wanted {
        let (what, recorded, wanted) = (what.to_string(), recorded.to_string(), wanted.to_string());
        problems.push(Problem::Draw { what, recorded, wanted });
    }
}
