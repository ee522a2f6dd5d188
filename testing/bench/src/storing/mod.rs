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

use self::bare::Bare;
use self::bets::Bets;
use self::limit::Limit;
use self::ours::{Ours, Rows};
use self::postgres::Postgres;
use super::cli::Options;
use super::outcome::{Case, Outcome};
use super::place::Place;
use super::turns::{Entry, take_turns};

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

    pub(super) fn parameters(self) -> Vec<(&'static str, u64)> {
        vec![("agencies", self.agencies.into()), ("batch", self.batch.into())]
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
const NOTE_ON_PEER: &str = "Of the peer, into whose store nobody can look, the answers alone were \
                            checked.";

/// Measures all cases that the options ask for.
///
/// # Errors
/// A contestant fails, or stored something else than it acknowledged.
pub async fn ask(options: &Options, place: &Place) -> anyhow::Result<Outcome> {
    let bets = Bets::read(&place.bets.file(1))?;
    let postgres = match options.no_peers {
        false => Some(Postgres::start(place).await?),
        true => None,
    };
    let cases = measure(options, &bets, postgres.as_ref(), place).await;
    // Also after a failure, of which this one must not hide the reason: it leaves nothing behind
    // only if it is asked to end.
    let stopped = match postgres {
        Some(postgres) => postgres.stop().await,
        None => Ok(()),
    };
    let cases = cases?;
    stopped.context("end PostgreSQL")?;
    Ok(Outcome {
        question: "storing",
        title: "bets stored in a second, each batch synced before its answer".to_owned(),
        cases,
        notes: notes(options),
    })
}

fn notes(options: &Options) -> Vec<String> {
    let systems = (!options.no_peers).then_some(NOTE_ON_SYSTEMS);
    let peer = (!options.peer.is_empty()).then_some(NOTE_ON_PEER);
    NOTES.into_iter().chain(systems).chain(peer).map(str::to_owned).collect()
}

async fn measure(
    options: &Options,
    bets: &Bets,
    postgres: Option<&Postgres>,
    place: &Place,
) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    // First of all: whether it is there shows before the long part.
    let mut beside_peer = None;
    if !options.peer.is_empty() {
        place.note(&format!("storing: beside {}", options.peer.join(", ")));
        beside_peer = Some(reference::case(&options.peer, options, bets, place).await?);
    }
    for setting in settings(options) {
        place.note(&format!("storing: {}", setting.name()));
        let entries = enter(setting, options, bets, postgres, place).await?;
        let standings = take_turns(entries, options.effort(), &place.stop).await?;
        cases.push(Case { name: setting.name(), parameters: setting.parameters(), standings });
    }
    cases.extend(beside_peer);
    Ok(cases)
}

/// The cases: all pairs of what is given, or of everything; quickly, what tells most.
fn settings(options: &Options) -> Vec<Setting> {
    let Options { agencies, batches, quick, .. } = options;
    if *quick && agencies.is_empty() && batches.is_empty() {
        let all = [(1, 100), (5, 100), (16, 100), (5, 1), (5, 20)];
        return all.map(|(agencies, batch)| Setting { agencies, batch }).to_vec();
    }
    let batches = if batches.is_empty() { &[1, 20, 100, 500] } else { &**batches };
    let agencies = if agencies.is_empty() { &[1, 5, 16, 64] } else { &**agencies };
    let pairs = batches.iter().flat_map(|batch| agencies.iter().map(move |it| (*it, *batch)));
    pairs.map(|(agencies, batch)| Setting { agencies, batch }).collect()
}

/// Sets up everybody.
async fn enter(
    setting: Setting,
    options: &Options,
    bets: &Bets,
    postgres: Option<&Postgres>,
    place: &Place,
) -> anyhow::Result<Vec<Entry>> {
    let instances = if options.instances.is_empty() { &[1, 3] } else { &*options.instances };
    let mut entries = Vec::new();
    for &instances in instances {
        let bets = bets.clone();
        let ours = Ours::start(setting, instances, place, move |agency, addresses| {
            let bets = bets.clone();
            async move {
                let own = *addresses.first().context("no instance")?;
                Rows::connect(own, agency, setting, &bets, 0).await
            }
        });
        let ours = ours.await?;
        entries.push(Entry::Present(Box::new(ours)));
    }
    entries.push(Entry::Present(Box::new(Limit::prepare(setting, bets, place)?)));
    entries.push(Entry::Present(Box::new(Bare::start(setting, bets, place).await?)));
    if let Some(postgres) = postgres {
        entries.push(redis::enter(setting, bets, place).await?);
        entries.push(postgres.enter(setting, bets).await?);
    }
    Ok(entries)
}
