//! The first question: how many bets are stored in a second, and how long an answer takes.
//!
//! Agencies in a closed loop, each on one connection with one packet outstanding, send batches
//! to contestants that sync each batch before they answer.

mod bare;
pub(super) mod bets;
mod limit;
pub(super) mod load;
pub(super) mod ours;
mod postgres;
mod redis;
mod reference;

use anyhow::Context as _;

use self::bets::Bets;
use self::load::Loaded;
use self::ours::Ours;
use self::postgres::Postgres;
use super::cli::BenchOptions;
use super::instances::counted;
use super::place::Place;
use super::results::{BenchResult, Case, Role};
use super::turns::Entry;

/// One case: so many agencies, so many bets in each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// How many agencies.
    pub agencies: u32,
    /// How many bets in a packet.
    pub batch: u32,
}

impl Setting {
    pub(super) fn name(self) -> String {
        let agencies = if self.agencies == 1 { "agency" } else { "agencies" };
        format!("{} {agencies}, batches of {}", self.agencies, self.batch)
    }

    pub(super) fn parameters(self) -> [(&'static str, u64); 2] {
        [("agencies", self.agencies.into()), ("batch", self.batch.into())]
    }
}

const NOTES: [&str; 3] = [
    "Figures are medians of rounds that were taken in turn; a line \"to …\" is the line above it \
     divided by that contestant's.",
    "The limit appends the rows of all agencies at once and syncs. The bare server appends packets \
     as they come, syncs and answers, and does nothing else. MiB is the most that one process had \
     resident.",
    "What is stored was counted in the end, and is what was acknowledged.",
];

/// What has to be known of other systems.
const NOTE_ON_SYSTEMS: &str = "The MiB of PostgreSQL, whose processes share memory, are what all \
                               of them have.";

/// What has to be known of a peer.
const NOTE_ON_PEER: &str = "Of the peer, whose store cannot be seen, the answers alone were \
                            checked.";

/// Measures all cases that the options ask for.
///
/// # Errors
/// A contestant fails, or stored something else than it acknowledged.
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let bets = Bets::read(&place.bets.file(1))?;
    let postgres = if options.no_peers { None } else { Some(Postgres::start(place).await?) };
    let cases = measure(options, &bets, postgres.as_ref(), place).await;
    // Also after a failure, of which this one must not hide the reason: it leaves nothing behind
    // only if it is asked to end.
    let stopped = match postgres {
        Some(Ok(postgres)) => postgres.stop().await,
        _ => Ok(()),
    };
    let cases = cases?;
    stopped.context("end PostgreSQL")?;
    Ok(BenchResult {
        question: "storing",
        title: "bets stored in a second, each batch synced before its answer",
        cases,
        notes: notes(options),
    })
}

fn notes(options: &BenchOptions) -> Vec<&'static str> {
    let systems = (!options.no_peers).then_some(NOTE_ON_SYSTEMS);
    let peer = (!options.peer.is_empty()).then_some(NOTE_ON_PEER);
    NOTES.into_iter().chain(systems).chain(peer).collect()
}

async fn measure(
    options: &BenchOptions,
    bets: &Bets,
    postgres: Option<&Result<Postgres, String>>,
    place: &Place,
) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    // First of all: whether it is there shows before the long part.
    let mut beside_peer = None;
    if !options.peer.is_empty() {
        place.note(&format!("storing: beside {}", options.peer.join(", ")));
        beside_peer = Some(reference::case(&options.peer, bets, place).await?);
    }
    for setting in settings(options) {
        place.note(&format!("storing: {}", setting.name()));
        let entries = enter(setting, options, bets, postgres, place).await?;
        cases.push(place.measure(setting.name(), &setting.parameters(), entries).await?);
    }
    cases.extend(beside_peer);
    Ok(cases)
}

/// The cases: all pairs of what is given, or of everything; quickly, the most important ones.
fn settings(options: &BenchOptions) -> Vec<Setting> {
    let BenchOptions { agencies, batches, quick, .. } = options;
    if *quick && agencies.is_empty() && batches.is_empty() {
        let all = [(1, 100), (5, 100), (16, 100), (5, 1), (5, 20)];
        return all.map(|(agencies, batch)| Setting { agencies, batch }).to_vec();
    }
    let batches = if batches.is_empty() { &[1, 20, 100, 500] } else { &**batches };
    let agencies = if agencies.is_empty() { &[1, 5, 16, 64] } else { &**agencies };
    let pairs = batches.iter().flat_map(|batch| agencies.iter().map(move |it| (*it, *batch)));
    pairs.map(|(agencies, batch)| Setting { agencies, batch }).collect()
}

/// Sets up all contestants.
async fn enter<'p>(
    setting: Setting,
    options: &BenchOptions,
    bets: &Bets,
    postgres: Option<&'p Result<Postgres, String>>,
    place: &Place,
) -> anyhow::Result<Vec<Entry<'p>>> {
    let mut entries = Vec::new();
    for count in options.instances() {
        let store = Ours::start(place, place.directory("ours")?, count, setting, 0).await?;
        let load = store.rows(setting, bets, &[]).await?;
        entries.push(Entry::new(&counted(count), Role::Ours, Loaded { store, load }));
    }
    let limit = limit::prepare(setting, bets, place)?;
    entries.push(Entry::new("limit", Role::Limit, limit));
    let bare = bare::start(setting, bets, place).await?;
    entries.push(Entry::new("bare server", Role::Peer, bare));
    if let Some(postgres) = postgres {
        entries.push(redis::enter(setting, bets, place).await?);
        entries.push(match postgres {
            Ok(postgres) => postgres.enter(setting, bets).await?,
            Err(reason) => Entry::absent(postgres::NAME, reason),
        });
    }
    Ok(entries)
}
