//! The first question: how many bets are stored in a second, and how long an answer takes.
//!
//! Agencies in a closed loop, each on one connection with one packet outstanding, send batches
//! to contestants that sync each batch before they answer.

mod bets;
mod limit;
mod load;
mod measures;
mod ours;

use self::bets::Bets;
use self::limit::Limit;
use self::ours::Ours;
use super::answer::{Answer, Case};
use super::cli::Options;
use super::stage::Stage;
use super::turns::{Entry, take_turns};

/// One case: so many agencies, so many bets in each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    agencies: u32,
    batch: u32,
}

/// Measures all cases that the options ask for.
///
/// # Errors
/// A contestant fails, or stored something else than it acknowledged.
pub async fn ask(options: &Options, stage: &Stage) -> anyhow::Result<Answer> {
    let bets = Bets::read(&stage.bets.file(1))?;
    let mut cases = Vec::new();
    for (setting, instances) in plan(options) {
        stage.note(&format!("storing: {}", setting.name()));
        let entries = enter(setting, &instances, &bets, stage).await?;
        let standings = take_turns(entries, options.effort(), &stage.stop).await?;
        cases.push(Case { name: setting.name(), parameters: setting.parameters(), standings });
    }
    Ok(Answer {
        question: "storing",
        title: "bets stored in a second, each batch synced before its answer".to_owned(),
        cases,
        notes: Vec::new(),
        plotted: &measures::BETS_PER_SECOND,
    })
}

impl Setting {
    fn name(self) -> String {
        let agencies = if self.agencies == 1 { "agency" } else { "agencies" };
        format!("{} {agencies}, batches of {}", self.agencies, self.batch)
    }

    fn parameters(self) -> Vec<(&'static str, u64)> {
        vec![("agencies", self.agencies.into()), ("batch", self.batch.into())]
    }
}

/// The cases, each with its numbers of instances.
fn plan(options: &Options) -> Vec<(Setting, Vec<u8>)> {
    let or = |given: &[u32], default: &[u32]| {
        if given.is_empty() { default.to_vec() } else { given.to_vec() }
    };
    let instances =
        if options.instances.is_empty() { vec![1, 3] } else { options.instances.clone() };
    let batches = or(&options.batches, &[1, 20, 100, 500]);
    let agencies = or(&options.agencies, &[1, 5, 16, 64]);
    let settings = batches
        .iter()
        .flat_map(|&batch| agencies.iter().map(move |&agencies| Setting { agencies, batch }));
    settings.map(|setting| (setting, instances.clone())).collect()
}

/// Sets up everybody.
async fn enter(
    setting: Setting,
    instances: &[u8],
    bets: &Bets,
    stage: &Stage,
) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for &instances in instances {
        let ours = Ours::start(setting, instances, bets, stage).await?;
        entries.push(Entry::Present(Box::new(ours)));
    }
    entries.push(Entry::Present(Box::new(Limit::prepare(setting, bets, stage)?)));
    Ok(entries)
}
