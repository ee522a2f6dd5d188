//! The closed agencies and the draw's record against the files of bets.

use std::collections::BTreeSet;
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
    time: String,
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
    Ok(read(volume)?.time)
}

fn read(volume: &Volume) -> anyhow::Result<Draw> {
    let bytes = fs::read(volume.draw()).context("read the record of the draw")?;
    serde_json::from_slice(&bytes).context("read the record of the draw")
}

/// The draws that the lines of a log announce, except the one that was held at `time`.
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
    let all: Vec<String> =
        (1..=expected.bets.agencies()).map(|agency| agency.to_string()).collect();
    let wanted: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    let closed: BTreeSet<&str> = text.lines().collect();
    let mut add = |what: String| {
        problems.push(Problem::Wrong(format!("agencies_closed.txt: {what}")));
    };
    for (are, are_not, what) in [
        (&wanted, &closed, "have not closed"),
        (&closed, &wanted, "are no agencies of this lottery"),
    ] {
        let difference: Vec<_> = are.difference(are_not).collect();
        if !difference.is_empty() {
            add(format!("{} {what}", brief(&difference)));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        add("its last line has no end".to_owned());
    }
    Ok(())
}

/// The draw is over exactly these bets, and names exactly these winners.
pub(super) fn check_draw(
    expected: &Expected<'_>,
    agencies: &[AgencyAudit],
    problems: &mut Vec<Problem>,
) {
    let mut add = |what: String| problems.push(Problem::Wrong(format!("draw.json: {what}")));
    let draw = match read(expected.volume) {
        Ok(draw) => draw,
        Err(error) => return add(format!("{error:#}")),
    };
    let mut check = |is_right: bool, what: &str, recorded: String, wanted: String| {
        if !is_right {
            add(format!("{what} is {recorded} and should be {wanted}"));
        }
    };
    let bets: u64 = agencies.iter().map(|agency| agency.bets).sum();
    for (what, recorded, wanted) in [
        ("winning_number", draw.winning_number.into(), expected.winner_number.into()),
        ("agencies_amount", draw.agencies_amount.into(), expected.bets.agencies().into()),
        ("bets", draw.bets, bets),
    ] {
        check(recorded == wanted, what, recorded.to_string(), wanted.to_string());
    }
    let recorded: Vec<u32> = draw.agencies.iter().map(|drawn| drawn.agency).collect();
    let wanted: Vec<u32> = agencies.iter().map(|audited| audited.agency).collect();
    if recorded != wanted {
        return check(false, "the list of agencies", brief(&recorded), brief(&wanted));
    }
    for (drawn, audited) in draw.agencies.iter().zip(agencies) {
        let name = |what: &str| format!("{what} of agency {}", audited.agency);
        let (rows, bets) = (drawn.rows, audited.bets);
        check(rows == bets, &name("rows"), rows.to_string(), bets.to_string());
        let (digest, wanted) = (&drawn.digest, &audited.digest);
        check(digest == wanted, &name("digest"), digest.clone(), wanted.clone());
        let (winners, wanted) = (&drawn.winners, &audited.winners);
        check(winners == wanted, &name("winners"), brief(winners), brief(wanted));
    }
}
