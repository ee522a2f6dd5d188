//! The command line of `chaos`.

use std::path::Path;

use clap::Parser;

const MORE: &str = "\
Each run is a small lottery of 2 to 4 servers and 2 to 6 agencies, made from its seed. While the \
agencies send, servers and clients are killed, stopped, paused, moved and started again; proxies \
between them cut, delay, drop, repeat and swallow what passes; datagrams are lost and forged; \
names and addresses change; the disk is full for a while; and an intruder sends what must be \
refused. Then the faults end, the lottery has to come to its end by itself, and every promise is \
checked: from every answer that passed, from the files, and from what the clients announced.

Run k of --seed N, counted from 0, has the seed N+k. A run that failed keeps its files, and the \
output has the command that repeats it. A full disk and names that change need mounts of \
their own, for which no root is needed but a system that grants them (unshare); where it does \
not, the output says that they were skipped.

Examples:
  chaos
  chaos --minutes 120 --json
  chaos --seed 4711 --runs 1

Exit codes:
  0  every promise was kept in every run
  1  one was not: it is named with its seed, and the files are kept;
     after ten such runs it ends
  2  the command line is wrong, nothing was started";

/// Attacks lotteries, and checks that nothing was lost or doubled
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos", bin_name = "chaos", version, after_help = MORE)]
#[command(max_term_width = 100)]
pub struct ChaosOptions {
    /// The seed of the first run
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How many runs to perform; without it, 10, or as many as --minutes allows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: Option<u64>,

    /// Start no more runs after so many minutes
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub minutes: Option<u64>,

    /// How many runs to perform side by side, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=8))]
    side_by_side: u8,

    /// Perform the runs in containers of the Compose project PROJECT, whose images are built, and
    /// take that down: scripts/chaos-containers.sh does all of it
    #[arg(long, value_name = "PROJECT", conflicts_with = "side_by_side")]
    pub containers: Option<String>,

    /// End standard output with one JSON line; the table goes to standard error
    #[arg(long)]
    pub json: bool,
}

/// How many runs there are if nothing is said.
const RUNS_DEFAULT: u64 = 10;

impl ChaosOptions {
    /// How many runs to perform side by side: those in containers share their project.
    #[must_use]
    pub fn side_by_side(&self) -> usize {
        if self.containers.is_some() { 1 } else { self.side_by_side.into() }
    }

    /// The command that repeats the run of `seed`, if `program` performs these.
    #[must_use]
    pub fn command_of(&self, seed: u64, program: &Path) -> String {
        match self.containers {
            Some(_) => format!("scripts/chaos-containers.sh --seed {seed} --runs 1"),
            None => format!("{} --seed {seed} --runs 1", program.display()),
        }
    }

    /// How many runs to perform at the most.
    #[must_use]
    pub fn runs_max(&self) -> u64 {
        let without = if self.minutes.is_some() { u64::MAX } else { RUNS_DEFAULT };
        self.runs.unwrap_or(without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together_and_runs_have_a_limit() {
        ChaosOptions::command().debug_assert();
        let runs = |arguments: &[&str]| {
            let all = ["chaos"].iter().chain(arguments);
            ChaosOptions::try_parse_from(all).unwrap().runs_max()
        };
        assert_eq!(runs(&[]), 10);
        assert_eq!(runs(&["--minutes", "3"]), u64::MAX);
        assert_eq!(runs(&["--minutes", "3", "--runs", "5"]), 5);
    }

    #[test]
    fn the_script_knows_every_option() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/chaos.sh");
        let differences = harness::command::script_differences::<ChaosOptions>(script.as_ref());
        assert_eq!(differences.unwrap(), ["--containers"]);
    }
}
