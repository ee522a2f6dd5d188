//! The question: whether storing depends on how many bets are stored already.
//!
//! The load of `storing`, on one instance, on volumes that differ in nothing else.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::cli::Options;
use super::outcome::{Case, Outcome};
use super::place::Place;
use super::stored::Stored;
use super::storing::Setting;
use super::storing::bets::Bets;
use super::storing::ours::{Ours, Rows};
use super::turns::{Entry, take_turns};
use harness::numbers::grouped;

const SETTING: Setting = Setting { agencies: 5, batch: 100 };

const NOTES: [&str; 2] = [
    "A line \"to an empty volume\" is the line above it divided by that one's. MiB is the most \
     that the instance had resident, its start included.",
    "Rows stored were counted in the end, and are those that were acknowledged, behind those that \
     were there.",
];

/// Measures all volumes in turn.
///
/// # Errors
/// An instance fails, or stored something else than it acknowledged.
pub async fn ask(options: &Options, place: &Place) -> anyhow::Result<Outcome> {
    let bets = Bets::read(&place.bets.file(1))?;
    let mut entries = Vec::new();
    for rows in options.bets(&[0, 10_000_000, 50_000_000], 10_000_000) {
        place.note(&format!("growth: {} bets", grouped(rows)));
        let stored = Stored::write(rows, SETTING.agencies, place).await?;
        let before = stored.rows().to_vec();
        let bets = bets.clone();
        let connect = move |agency: u32, addresses: Vec<SocketAddr>| {
            let (bets, before) = (bets.clone(), before.get(agency as usize - 1).copied());
            async move {
                let address = *addresses.first().context("no instance")?;
                Rows::connect(address, agency, SETTING, &bets, before.unwrap_or_default()).await
            }
        };
        let name = match rows {
            0 => "an empty volume".to_owned(),
            rows => format!("{} bets", grouped(rows)),
        };
        let ours = Ours::start_on(stored, name, place, SETTING, connect).await?;
        entries.push(Entry::Present(Box::new(ours)));
    }
    let standings = take_turns(entries, options.effort(), &place.stop).await?;
    let case = Case { name: SETTING.name(), parameters: SETTING.parameters(), standings };
    Ok(Outcome {
        question: "growth",
        title: "bets stored in a second, by how many are stored already".to_owned(),
        cases: vec![case],
        notes: NOTES.map(str::to_owned).to_vec(),
    })
}
