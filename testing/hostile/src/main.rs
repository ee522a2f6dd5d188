//! A live server under hostile input: attacks in turn, each while ordinary agencies store beside
//! it, and the check that the server held.
//!
//! `attack` says which there are and what a server owes under each, `attacks` makes them; `run`
//! measures one on its `target_server` and judges it. Answers and file are compared with what the
//! oracle says. Nothing here knows the server's code.
//!
//! **Invariant**: the same seed sends the same mutated lines. Figures are only compared with those
//! of the same run, in turn.

mod attack;
mod attacks;
mod cli;
mod ordinary;
mod run;
mod stored;
mod summary;
mod target_server;

use std::ffi::OsString;
use std::io::{self, Write as _};

use anyhow::Context as _;
use program::exit::Exit;
use program::shutdown;

use crate::cli::HostileOptions;
use crate::summary::AttackResult;
use harness::command;

fn main() -> Exit {
    command::dispatch(&[("server", server::main), ("client", client::main)], run)
}

/// The program `hostile [OPTIONS] [ATTACK…]`; `arguments` start with the program's name.
fn run(arguments: Vec<OsString>) -> Exit {
    let options: HostileOptions = match command::options(arguments) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    command::raise_descriptor_limit();
    if let Some(refusal) = options.too_few_descriptors(command::descriptor_limit()) {
        let _ = writeln!(io::stderr(), "error: {refusal}");
        return Exit::Usage;
    }
    command::run(async {
        let results = make_all(&options).await?;
        show(&options, &results)?;
        Ok(if summary::is_right(&results) { Exit::Right } else { Exit::Failed })
    })
}

/// Makes one attack after the other, until a signal comes.
async fn make_all(options: &HostileOptions) -> anyhow::Result<Vec<AttackResult>> {
    let signal = shutdown::on_signal().context("listen for signals")?;
    let binary = std::env::current_exe().context("find this program's file")?;
    let mut results = Vec::new();
    for attack in options.attacks() {
        let _ = writeln!(io::stderr(), "{} …", attack.name());
        results.push(tokio::select! {
            result = run::hold(attack, options.scale(), options.seed, &binary) => result,
            () = signal.cancelled() => anyhow::bail!("finish: interrupted"),
        });
    }
    Ok(results)
}

fn show(options: &HostileOptions, results: &[AttackResult]) -> anyhow::Result<()> {
    let table = summary::table(results);
    if !options.json {
        return write!(io::stdout(), "{table}").context("write the result");
    }
    let _ = write!(io::stderr(), "{table}");
    writeln!(io::stdout(), "{}", summary::json(results)).context("write the result")
}
