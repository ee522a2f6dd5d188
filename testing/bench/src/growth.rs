//! The question: whether storing depends on how many bets are stored already.
//!
//! The load of `storing`, on one instance, on volumes that differ in nothing else.

use super::cli::BenchOptions;
use super::place::Place;
use super::results::{BenchResult, Role};
use super::stored::Stored;
use super::storing::Setting;
use super::storing::bets::Bets;
use super::storing::load::Loaded;
use super::storing::ours::Ours;
use super::turns::Entry;
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
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let bets = Bets::read(&place.bets.file(1))?;
    let mut entries = Vec::new();
    for rows in options.bets(&[0, 10_000_000, 50_000_000], 10_000_000) {
        place.note(&format!("growth: {} bets", grouped(rows)));
        let stored = Stored::write(rows, SETTING.agencies, place).await?;
        let before = stored.rows.clone();
        let (name, role) = match rows {
            0 => ("an empty volume".to_owned(), Role::Baseline),
            rows => (format!("{} bets", grouped(rows)), Role::Ours),
        };
        let ours = Ours::start(place, stored.place, 1, SETTING, rows).await?;
        let load = ours.rows(SETTING, &bets, &before).await?;
        entries.push(Entry::new(&name, role, Loaded { store: ours, load }));
    }
    let case = place.measure(SETTING.name(), &SETTING.parameters(), entries).await?;
    Ok(BenchResult {
        question: "growth",
        title: "bets stored in a second, by how many are stored already",
        cases: vec![case],
        notes: NOTES.to_vec(),
    })
}
