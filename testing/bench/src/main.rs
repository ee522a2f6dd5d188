//! Measurements: this project beside the limit of the machine and beside other systems.
//!
//! A question (`storing`, …) decides its cases and sets up its contestants; `turns` runs them in
//! turn; `results` is what came of it; `table` and `place` show it. Never a test:
//! figures are for people, and only compared with those of the same run.
//!
//! To add a question: a variant of `cli::Question`, and its line in `ask`.
//!
//! **Invariant**: what is measured is also checked. A figure of a system that stored something
//! else than it acknowledged is never shown; of a `--peer`, whose store cannot be seen, the answers
//! alone are checked.

mod cli;
mod client;
mod draw;
mod foreign;
mod growth;
mod instances;
mod machine;
mod messages;
mod place;
mod results;
mod start;
mod stored;
mod storing;
mod table;
mod turns;

use std::ffi::OsString;
use std::io::{self, Write as _};

use anyhow::Context as _;
use program::exit::Exit;
use program::shutdown;

use crate::cli::{BenchOptions, Question};
use crate::machine::Others;
use crate::place::Place;
use crate::results::BenchResult;
use harness::command;
use harness::terminal;

fn main() -> Exit {
    command::dispatch(&[("server", server::main), ("client", ::client::main)], run)
}

/// The program `bench [OPTIONS] [QUESTION…]`; `arguments` start with the program's name.
fn run(arguments: Vec<OsString>) -> Exit {
    let options: BenchOptions = match command::options(arguments) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    command::raise_descriptor_limit();
    command::run(async {
        ask_all(&options).await?;
        Ok(Exit::Right)
    })
}

/// Asks one question after the other; what others came to before one failed stays.
async fn ask_all(options: &BenchOptions) -> anyhow::Result<()> {
    let signal = shutdown::on_signal().context("listen for signals")?;
    let place = Place::prepare(options, signal).await?;
    if cfg!(debug_assertions) {
        place.note("this is a debug build: its figures mean nothing");
    }
    let width = terminal::width();
    for line in place.machine.summary().lines() {
        write!(io::stdout(), "{}", terminal::wrapped(line, width)).context("write the result")?;
    }
    for question in options.questions() {
        let others = Others::watch()?;
        let result = ask(question, options, &place).await?;
        let share = others.share(&place.machine)?;
        let warning = machine::warning(share).map(|text| terminal::wrapped(&text, width));
        for part in [Some(table::table(&result, width)), warning].into_iter().flatten() {
            write!(io::stdout(), "\n{part}").context("write the result")?;
        }
        place.write(&result, share)?;
    }
    Ok(())
}

async fn ask(
    question: Question,
    options: &BenchOptions,
    place: &Place,
) -> anyhow::Result<BenchResult> {
    match question {
        Question::Storing => storing::ask(options, place).await.context("measure storing"),
        Question::Growth => growth::ask(options, place).await.context("measure growth"),
        Question::Draw => draw::ask(options, place).await.context("measure the draw"),
        Question::Start => start::ask(options, place).await.context("measure the start"),
        Question::Messages => messages::ask(options, place).await.context("measure messages"),
        Question::Client => client::ask(options, place).await.context("measure the client"),
    }
}
