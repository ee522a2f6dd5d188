//! An agency of the lottery: replays its bets to the servers, closes, and learns its winners.
//!
//! `cli` and `settings` say what is wanted; `input` and `bets` hold the bets; `session` with
//! `endpoints` and `connection` finds an instance for each packet; `day` goes by `replay`,
//! `legacy` and `winners`, which say which packets, and what follows from the answers. `limits` has
//! every limit.
//!
//! **Invariant**: nothing that the client keeps in memory is needed to go on after its end. What
//! is stored is asked of the servers, each time.

pub mod bets;
pub mod claim;
mod cli;
pub mod connection;
pub mod day;
pub mod endpoints;
pub mod generate;
pub mod input;
pub mod legacy;
pub mod limits;
mod old_servers;
pub mod replay;
mod replica;
mod run;
pub mod session;
pub mod settings;
pub mod settings_file;
pub mod status;
mod whole_file;
pub mod winners;

use std::ffi::OsString;

use clap::Parser as _;
use program::exit::Exit;
use tracing::info;

use cli::{Cli, Command};

/// Runs the client with these arguments, of which the first is the program's name.
///
/// Exit codes: 0 all of it is right, or a replay was stopped by a signal; 1 refused, failed or done
/// in part only; 2 the command line, a setting or the file of bets is wrong, and nothing was sent.
///
/// Once the client has read its settings, its last line is `shutdown` with `success`, unless it is
/// killed or a second signal ends it; the line before that is `exit` with the exit code. Scripts
/// wait for that last line of the reference's client.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let exit = execute(arguments);
    // Without effect if logging has not started: a command line was wrong, or help was asked for.
    info!(action = "shutdown", result = "success");
    exit
}

fn execute(arguments: impl Iterator<Item = OsString>) -> Exit {
    if let Err(error) = program::dotenv::load() {
        return usage(&format!("{:#}", anyhow::Error::from(error)));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // That the terminal is gone changes nothing about the exit code.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Right };
        }
    };
    match cli.command.unwrap_or(Command::Replay) {
        Command::Generate(arguments) => run::generate(&arguments),
        command => with_settings(cli.config.as_deref(), &command),
    }
}

fn with_settings(path: Option<&std::path::Path>, command: &Command) -> Exit {
    let (file, typed) = match settings_file::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&format!("{error:#}")),
    };
    let needs_id = match command {
        Command::Status(which) | Command::Winners(which) => which.agency.is_none(),
        Command::Replay | Command::Generate(_) => true,
    };
    match settings::read(file.as_deref(), typed, settings::environment, needs_id) {
        Ok(read) => run::run(command, &read),
        Err(errors) => usage(&errors.to_string()),
    }
}

fn usage(error: &str) -> Exit {
    program::log::tell_wrong_settings(error);
    Exit::Usage
}
