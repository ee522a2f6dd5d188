//! A terminal: a line that is edited, with a history, which the lines of others do not break.

use std::thread;

use anyhow::Context as _;
use protocol::chat::Name;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor, ExternalPrinter as _};
use tokio::sync::mpsc::{Receiver, Sender};

use super::show::Style;
use super::{Event, Input};

/// Reads what is typed into `inputs`, and prints `events` above it until they end.
pub(super) async fn run(
    name: &Name,
    style: Style,
    inputs: Sender<Input>,
    mut events: Receiver<Event>,
) -> anyhow::Result<()> {
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config).context("use the terminal")?;
    let mut printer = editor.create_external_printer().context("use the terminal")?;
    let prompt = format!("{name}> ");
    // The editor's thread ends with the program if nothing more is typed.
    thread::spawn(move || {
        loop {
            let input = match editor.readline(&prompt) {
                Ok(line) => Input::parse(&line),
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => Some(Input::Exit),
                Err(_) => break,
            };
            let Some(input) = input else { continue };
            let is_over = input == Input::Exit;
            if inputs.blocking_send(input).is_err() || is_over {
                break;
            }
        }
    });
    while let Some(event) = events.recv().await {
        if let Some(text) = style.text(&event) {
            printer.print(format!("{text}\n")).context("print")?;
        }
    }
    Ok(())
}
