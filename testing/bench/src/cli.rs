//! The command line of `bench`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use server::net::limits::CONNECTIONS_MAX;

use super::turns::Effort;

/// All of them wait on one instance, and one connection more closes the last agency.
const WAITING_MAX: i64 = CONNECTIONS_MAX as i64 - 1;

const MORE: &str = "\
Measures this project beside what the machine allows at best and beside other systems, if they \
are installed: all of them in turn, on the same disk, with the same bets, and gives the median of \
all rounds. Prints a table for each question, and writes QUESTION.json.

Nothing else may run on the machine meanwhile: then the limit is measured too slow.

Examples:
  bench --quick
  bench storing --agencies 1,5,16 --batches 100 --instances 1,3
  bench storing --no-peers --out results
  bench draw start --bets 10000000 --waiting 10000

Exit codes:
  0  everything was measured, and what was stored is what was acknowledged
  1  something failed: it is named
  2  the command line is wrong, nothing was started";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// How many bets are stored in a second, and how long an answer takes
    Storing,
    /// Whether that depends on how many are stored already
    Growth,
    /// How long after the last close all have their winners
    Draw,
    /// How long an instance takes to its first answer
    Start,
    /// How long after a message everyone who waits has it
    Messages,
    /// What an agency's client takes for reading, checking and sending its bets
    Client,
}

/// Measures, beside the limit and beside others
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", bin_name = "bench", version)]
#[command(after_help = MORE, max_term_width = 100)]
pub struct BenchOptions {
    /// What to ask; without any, everything
    #[arg(value_enum, value_name = "QUESTION")]
    pub questions: Vec<Question>,

    /// Fewer cases and shorter rounds: all of it in under two minutes on 2 quiet cores
    #[arg(long)]
    pub quick: bool,

    /// storing, growth: how long a round is; of the others, each is the whole thing once
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// How many rounds each contestant has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,

    /// storing: with how many agencies
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub agencies: Vec<u32>,

    /// storing: how many bets in a packet
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub batches: Vec<u32>,

    /// storing, draw, messages: on how many instances
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u8).range(1..=16))]
    pub instances: Vec<u8>,

    /// growth, draw, start, client: how many bets
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    pub bets: Vec<u64>,

    /// draw, messages: how many agencies or participants wait
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(2..=WAITING_MAX))]
    pub waiting: Vec<u32>,

    /// Leave the other systems out
    #[arg(long)]
    pub no_peers: bool,

    /// storing: measure these servers of the same protocol, too, beside as many instances of ours,
    /// on the reference's terms; they should be on this machine and on the disk of --out, else
    /// there is no ratio to them; the bets are stored there, and not counted
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub peer: Vec<String>,

    /// Where the results go; everything is stored there, too, while it is measured
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub out: PathBuf,
}

impl BenchOptions {
    /// What is asked, in order.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        match self.questions.as_slice() {
            [] => Question::value_variants().to_vec(),
            asked => asked.to_vec(),
        }
    }

    /// How many bets: what was given, else `all`, or quickly up to `quick_max` of them.
    #[must_use]
    pub fn bets(&self, all: &[u64], quick_max: u64) -> Vec<u64> {
        let most = if self.quick { quick_max } else { u64::MAX };
        match self.bets.as_slice() {
            [] => all.iter().copied().filter(|bets| *bets <= most).collect(),
            given => given.to_vec(),
        }
    }

    /// On how many instances.
    #[must_use]
    pub fn instances(&self) -> Vec<u8> {
        if self.instances.is_empty() { vec![1, 3] } else { self.instances.clone() }
    }

    /// How much is measured.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let (seconds, rounds) = if self.quick { (0.5, 3) } else { (2.0, 5) };
        Effort { seconds: self.seconds.unwrap_or(seconds), rounds: self.rounds.unwrap_or(rounds) }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=600.0).contains(seconds));
    seconds.ok_or_else(|| "must be 0.01 to 600 seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn options(arguments: &[&str]) -> BenchOptions {
        BenchOptions::try_parse_from(["bench"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn the_definition_holds_together() {
        BenchOptions::command().debug_assert();
        let help = BenchOptions::command().render_help().to_string();
        assert!(help.contains("Usage: bench [OPTIONS] [QUESTION]..."), "{help}");
        assert_eq!(options(&[]).questions(), Question::value_variants());
        assert_eq!(options(&["storing"]).questions(), [Question::Storing]);
        assert_eq!(options(&["--agencies", "1,5"]).agencies, [1, 5]);
    }

    #[test]
    fn given_values_go_before_quick_and_have_ranges() {
        let effort = options(&["--quick", "--seconds", "0.05"]).effort();
        assert_eq!((effort.seconds, effort.rounds), (0.05, 3));
        // As many agencies may wait as an instance takes.
        for (option, most, too_much) in [("--waiting", "10239", "10240"), ("--seconds", "600", "0")]
        {
            options(&[option, most]);
            assert!(BenchOptions::try_parse_from(["bench", option, too_much]).is_err(), "{option}");
        }
    }

    #[test]
    fn the_script_knows_every_option() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/bench.sh");
        let differences = harness::command::script_differences::<BenchOptions>(script.as_ref());
        assert_eq!(differences.unwrap(), [""; 0]);
    }
}
