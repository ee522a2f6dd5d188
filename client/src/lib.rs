//! The client of the lottery: replays an agency's bets to the servers, closes the agency, and
//! prints its winners.
//!
//! `agency_run` is the whole of it, by `replay` or `fallback`, then `winners`. `session` finds an
//! instance for each packet, with `endpoints` and `server_connection`. `input` and `bets` have the
//! agency's bets. `limits` has every limit. It does not know the servers' files.
//!
//! **Invariant**: no state of the client's memory is needed after a restart. The client asks the
//! servers what is stored, each time.

pub mod agency_run;
mod atomic_file;
pub mod bets;
mod chat;
pub mod claim;
mod cli;
pub mod endpoints;
pub mod fallback;
pub mod generate;
pub mod input;
mod legacy_detection;
pub mod limits;
pub mod replay;
mod replica;
mod run;
pub mod server_connection;
pub mod session;
pub mod settings;
pub mod settings_file;
mod status;
pub mod winners;

use std::ffi::OsString;

use clap::Parser as _;
use program::exit::Exit;
use tracing::info;

use cli::{Cli, Command};

/// Runs the client with these arguments, the program's name first.
///
/// Exit codes: 0 success, or a signal ended a replay; 1 refused, failed, or done in part; 2 the
/// command line, a setting or the file of bets is wrong, and nothing was sent.
///
/// Once the client has read its settings, its last log line is `shutdown` with `success`, because
/// scripts wait for that line of the reference's client. The line before it is `exit` with the exit
/// code. Both are missing if the client is killed or a second signal ends it.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let exit = execute(arguments);
    // Without effect if logging has not started, as after `--help`.
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
            // A closed terminal does not change the exit code.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Right };
        }
    };
    let command = cli.command.unwrap_or(Command::Replay);
    if let Command::Generate(arguments) = command {
        return run::generate(&arguments);
    }
    let (file, typed) = match settings_file::load(cli.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&format!("{error:#}")),
    };
    let needs_id = command.agency().is_none() && !command.is_talk();
    match settings::read(file.as_deref(), typed, settings::environment, needs_id) {
        Ok(config) if command.is_talk() => run::talk(&command, &config),
        Ok(config) => run::run(&command, &config),
        Err(errors) => usage(&errors.to_string()),
    }
}

fn usage(error: &str) -> Exit {
    program::log::tell_wrong_settings(error);
    Exit::Usage
}
