//! The command line of `cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// As many as a client takes.
const BATCH_SIZE_MAX: i64 = client::limits::PACKET_BETS_MAX as i64;

const MORE: &str = "\
Starts servers on 127.0.0.1, 127.0.0.2, … and a client for each agency as real processes, lets the \
agencies send their bets, waits for the draw, counts what was stored and announced against the \
files by itself, prints a table, and stops everything.

Examples:
  cluster
  cluster --servers 16 --clients 200
  cluster --bets my-bets --clients 5 --json
  cluster --volume my-volume

People who talk, while servers come and go:
  cluster chat --migrate-every 30

The programs themselves:
  cluster server --help
  cluster client --help

Exit codes:
  0  all of it is right
  1  something is not: it is named, and the files are kept
  2  the command line is wrong, nothing was started";

/// Runs a whole lottery on this machine, and checks it
#[derive(Debug, Clone, Parser)]
#[command(name = "cluster", version, after_help = MORE, max_term_width = 100)]
pub struct ClusterOptions {
    /// How many servers, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=16))]
    pub servers: u8,

    /// How many agencies, 1 to 200
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=200))]
    pub clients: u32,

    /// Send the files agency-1.csv, agency-2.csv, … of DIR; without it, bets are made
    #[arg(long, value_name = "DIR")]
    pub bets: Option<PathBuf>,

    /// How many bets to make for the largest agencies; others have fewer
    #[arg(long, value_name = "N", default_value_t = 2_000, conflicts_with = "bets",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rows: u64,

    /// What to make bets from: the same seed, the same bets
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "bets")]
    pub seed: u64,

    /// Store in DIR and leave the files there; may be given again
    #[arg(long, value_name = "DIR")]
    pub volume: Option<PathBuf>,

    /// How many bets a client sends in a packet
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=BATCH_SIZE_MAX))]
    pub batch_size: u32,

    /// The number that wins, 0 to 9999
    #[arg(long, value_name = "N", default_value_t = 7574,
          value_parser = clap::value_parser!(u16).range(0..=9_999))]
    pub winner_number: u16,

    /// End standard output with one JSON line; the table goes to standard error
    #[arg(long)]
    pub json: bool,

    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub timeout: Duration,

    /// Write the logs of all processes to DIR and leave them there
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be 1 to 86400 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn wrong_values_name_their_option() {
        ClusterOptions::command().debug_assert();
        for (option, most, too_much) in [
            ("--servers", "16", "17"),
            ("--servers", "1", "0"),
            ("--clients", "200", "201"),
            ("--clients", "1", "0"),
            ("--winner-number", "9999", "10000"),
            ("--timeout", "86400", "0"),
            // As large as a client allows.
            ("--batch-size", "3448", "3450"),
            ("--batch-size", "1", "0"),
        ] {
            let parsed = |value| ClusterOptions::try_parse_from(["cluster", option, value]);
            parsed(most).unwrap();
            let error = parsed(too_much).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
