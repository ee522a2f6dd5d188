//! The client's command line: commands, options and their help. Executes nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use protocol::chat::Name;
use protocol::{AgencyId, BetNumber, InvalidValue};

use crate::generate::{self, GeneratedBets};
use crate::limits::GENERATED_ROWS_MAX;

/// Replays an agency's bets to the lottery's servers, closes, and prints its winners.
#[derive(Debug, Parser)]
#[command(name = "client", version, after_help = MORE, max_term_width = 100)]
pub struct Cli {
    /// The settings file [default: ./config.yaml, else ./client/config.yaml, if there is one]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

const MORE: &str = "\
Each setting is a key of the settings file and an environment variable. client/config.yaml lists \
all of them. Log lines go to standard error, winners to standard output.

Exit codes:
  0  success, or a signal ended a replay: run it again, it continues
  1  refused, failed, or done in part: run it again, it continues
  2  the command line, a setting or the file of bets is wrong; nothing was sent";

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Send the agency's bets, close, wait for the draw, print the winners' documents (default)
    Replay,
    /// Generate files of bets: the same arguments always generate the same files
    Generate(Generate),
    /// Print what is stored for the agency, and compare it with the agency's file
    Status(Which),
    /// Wait for the draw and print the winners' documents, one a line
    Winners(Which),
    /// Talk to the other participants, over whichever server answers
    ///
    /// In a terminal a line is edited, with a history; otherwise lines come from standard input and
    /// go to standard output. $help lists what can be typed. The key of the name is kept in
    /// CLI_CLAIMS_DIR: who has it has the name.
    Chat(Chat),
    /// Talk to one other person, without a server
    Talk(Talk),
}

/// Who talks.
#[derive(Debug, Clone, Args)]
pub struct Chat {
    /// Under which name: 1 to 30 letters, digits, '-' or '_'
    #[arg(long, value_parser = value::<Name>)]
    pub name: Name,
    /// For which agency
    #[arg(long, value_name = "N", value_parser = value::<AgencyId>)]
    pub agency: Option<AgencyId>,
    /// Show a page in a browser instead, at this port of this machine [default: any free one]
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    pub web: Option<u16>,
    /// Take private messages through the servers only, and not straight from other clients
    #[arg(long)]
    pub no_direct: bool,
    /// Show positions, connections and moves
    #[arg(long)]
    pub debug: bool,
}

/// Two people without a server.
#[derive(Debug, Clone, Args)]
#[group(id = "role", required = true, args = ["listen", "connect"])]
pub struct Talk {
    /// Wait for the other at this address: 0.0.0.0:4000
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Go to the other, who listens at this address
    #[arg(long, value_name = "ADDR")]
    pub connect: Option<SocketAddr>,
    /// Under which name
    #[arg(long, value_parser = value::<Name>)]
    pub name: Name,
    /// Show connections, too
    #[arg(long)]
    pub debug: bool,
}

/// How two people meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TalkRole {
    /// Waits at this address.
    Listen(SocketAddr),
    /// Goes to this address.
    Connect(SocketAddr),
}

impl Talk {
    /// Which of the two it is.
    ///
    /// # Panics
    /// If neither option was given, which the parser refuses.
    pub fn role(&self) -> TalkRole {
        match (self.listen, self.connect) {
            (Some(address), _) => TalkRole::Listen(address),
            (None, address) => TalkRole::Connect(address.expect("one of both is required")),
        }
    }
}

impl Command {
    /// Whether people talk.
    pub fn is_talk(&self) -> bool {
        matches!(self, Self::Chat(_) | Self::Talk(_))
    }

    /// The agency that the command line names.
    pub fn agency(&self) -> Option<AgencyId> {
        match self {
            Self::Status(which) | Self::Winners(which) => which.agency,
            Self::Replay | Self::Generate(_) | Self::Chat(_) | Self::Talk(_) => None,
        }
    }
}

/// The agency that a command is about.
#[derive(Debug, Clone, Copy, Args)]
pub struct Which {
    /// The agency's number [default: the setting `id`]
    #[arg(long, value_name = "N", value_parser = value::<AgencyId>)]
    pub agency: Option<AgencyId>,
}

/// Which files of bets to generate.
#[derive(Debug, Clone, Args)]
pub struct Generate {
    /// The number of agencies: agency-1.csv, agency-2.csv, …
    #[arg(long, default_value = "5", value_parser = value::<AgencyId>)]
    pub agencies: AgencyId,
    /// The number of rows of each file
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(..=GENERATED_ROWS_MAX),
    )]
    pub rows: u64,
    /// The seed: another seed generates other bets
    #[arg(long, default_value_t = generate::SEED)]
    pub seed: u64,
    /// The number of rows that bet on the winning number, in each file but the last agency's
    /// [default: 2, or all if there are fewer rows]
    #[arg(long)]
    pub winners: Option<u64>,
    /// The same for the last agency's file, if there is more than one agency
    #[arg(long, default_value_t = 0)]
    pub last_winners: u64,
    /// The winning number
    #[arg(long, default_value = generate::WINNER_NUMBER, value_parser = value::<BetNumber>)]
    pub winner_number: BetNumber,
    /// The directory of the files; it is created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "bets")]
    pub out: PathBuf,
    /// Replace files that exist already
    #[arg(long)]
    pub force: bool,
}

impl Generate {
    /// The number of winning rows of each file but the last agency's.
    fn winners(&self) -> u64 {
        self.winners.unwrap_or(generate::WINNERS.min(self.rows))
    }

    /// The bets of each agency's file.
    pub fn bets(&self) -> impl Iterator<Item = GeneratedBets> {
        let &Self { agencies, rows, seed, winner_number, last_winners, .. } = self;
        AgencyId::all(agencies.get()).map(move |agency| {
            let is_last = generate::is_last(agency, agencies.get());
            let winners = if is_last { last_winners } else { self.winners() };
            GeneratedBets { agency, rows, winners, winner_number, seed }
        })
    }

    /// # Errors
    /// Options that contradict each other, one a line.
    pub fn check(&self) -> Result<(), String> {
        let rows = self.rows;
        let wrong = [("--winners", self.winners()), ("--last-winners", self.last_winners)];
        let wrong = wrong.into_iter().filter(|(_, winners)| *winners > rows);
        let lines: Vec<_> = wrong
            .map(|(name, winners)| format!("{name} {winners}: must be at most --rows {rows}"))
            .collect();
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
    }
}

fn value<T: FromStr<Err = InvalidValue>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: InvalidValue| format!("must be {}", error.allowed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn replay_is_the_default_and_config_is_accepted_after_a_command() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["client"]).unwrap();
        assert!(cli.command.is_none() && cli.config.is_none());
        let cli = Cli::try_parse_from(["client", "status", "--config", "a", "--agency", "3"]);
        let cli = cli.unwrap();
        assert_eq!(cli.config, Some(PathBuf::from("a")));
        assert!(matches!(cli.command, Some(Command::Status(Which { agency: Some(_) }))));
    }

    #[test]
    fn wrong_values_are_refused_and_more_winners_than_rows_with_both_options() {
        for (arguments, wanted) in [
            ("generate --agencies 0", "--agencies"),
            ("generate --winner-number 10000", "--winner-number"),
            ("generate --rows 40000001", "--rows"),
            ("winners --agency x", "--agency"),
            ("generate --rows 3 --winners 3 --last-winners 3", "3 winners"),
            ("generate --rows 1", "1 winners"),
            ("generate --rows 5", "2 winners"),
            (
                "generate --rows 3 --winners 4 --last-winners 5",
                "--winners 4: must be at most --rows 3\n\
                 --last-winners 5: must be at most --rows 3",
            ),
        ] {
            let words = ["client"].into_iter().chain(arguments.split(' '));
            let parsed = Cli::try_parse_from(words).map_err(|error| error.to_string());
            let winners = parsed.and_then(|cli| match cli.command {
                Some(Command::Generate(generate)) => generate.check().map(|()| generate.winners()),
                other => panic!("{other:?}"),
            });
            let found = winners.map_or_else(|error| error, |count| format!("{count} winners"));
            assert!(found.contains(wanted), "{arguments}: {found}");
        }
    }
}
