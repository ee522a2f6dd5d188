//! A whole lottery on one machine, from real processes; and the harness of all tests with them.
//!
//! [`main`] is the program: it starts servers and agencies, and checks all of what comes out by
//! an independent count ([`audit`]). The rest is for tests, chaos runs and benchmarks, which
//! start, kill, pause and restart the same processes.
//!
//! Judges the programs by their settings, logs, files and wire only, never by their code. What it
//! takes of the client's code serves its own command line: how many bets a packet may have, and
//! whether a file of bets can be sent.
//!
//! **Invariant**: no process outlives the one that started it, and whoever waits, waits for an
//! event with a deadline.

mod agencies;
pub mod audit;
pub mod bench;
pub mod bets_dir;
pub mod chaos;
mod cli;
pub mod client_process;
pub mod cluster;
mod command;
mod containers;
pub mod directory;
mod ground;
mod hostile;
pub mod log;
pub mod process;
mod progress;
pub mod raw_connection;
mod report;
mod run;
pub mod server_process;
mod stop;
mod terminal;
mod trial;
pub mod udp_port;
pub mod volume;

use std::ffi::OsString;
use std::io::Write as _;

use program::exit::Exit;

/// The program: `cluster [run] [OPTIONS]`, `cluster chaos`, `cluster bench` and `cluster hostile`;
/// as `cluster server …` and `cluster client …` it is the server and the client, so that they are
/// there as processes whatever was built.
///
/// `arguments` start with the program's name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let mut arguments: Vec<OsString> = arguments.collect();
    let role = arguments.get(1).and_then(|word| word.to_str()).map(str::to_owned);
    match role.as_deref() {
        Some("server") => child(arguments, server::main),
        Some("client") => child(arguments, client::main),
        Some("chaos") => {
            arguments.remove(1);
            chaos::main(arguments)
        }
        Some("bench") => {
            arguments.remove(1);
            bench::main(arguments)
        }
        Some("hostile") => {
            arguments.remove(1);
            hostile::main(arguments)
        }
        Some("run") => {
            arguments.remove(1);
            run(arguments)
        }
        _ => run(arguments),
    }
}

/// One of the other programs; its role takes the place of the program's name.
fn child(mut arguments: Vec<OsString>, main: fn(std::vec::IntoIter<OsString>) -> Exit) -> Exit {
    arguments.remove(0);
    match process::die_with_parent() {
        Ok(()) => main(arguments.into_iter()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "failed to {error:#}");
            Exit::Failed
        }
    }
}

fn run(arguments: Vec<OsString>) -> Exit {
    match command::options::<cli::Options>(arguments) {
        Ok(options) => run::main(&options),
        Err(exit) => exit,
    }
}
