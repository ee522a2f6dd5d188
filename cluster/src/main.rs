//! A whole lottery on one machine, from real processes, and an independent count of what came out:
//! `cluster [OPTIONS]`. `cluster chat` has servers for people who talk.
//!
//! As `cluster server …` and `cluster client …` it is the server and the client, so that they are
//! there as processes whatever was built. It judges them by their settings, logs, files and wire
//! only. What it takes of the client's code serves its own command line: how many bets a packet may
//! have, and whether a file of bets can be sent.

mod agencies;
mod chat;
mod cli;
mod progress;
mod report;
mod run;
mod stop;
mod workspace;

use std::ffi::OsString;

use harness::command;
use program::exit::Exit;

fn main() -> Exit {
    command::dispatch(&[("server", server::main), ("client", client::main)], cluster)
}

/// `cluster [run | chat] [OPTIONS]`; `arguments` start with the program's name.
fn cluster(mut arguments: Vec<OsString>) -> Exit {
    if arguments.get(1).is_some_and(|word| word == "chat") {
        arguments.remove(1);
        return match command::options::<chat::ChatOptions>(arguments) {
            Ok(options) => chat::main(&options),
            Err(exit) => exit,
        };
    }
    if arguments.get(1).is_some_and(|word| word == "run") {
        arguments.remove(1);
    }
    match command::options::<cli::ClusterOptions>(arguments) {
        Ok(options) => run::main(&options),
        Err(exit) => exit,
    }
}
