//! Lines in and lines out, for pipes and scripts.

use std::io::{self, BufRead as _, Write as _};
use std::thread;

use anyhow::Context as _;
use tokio::sync::mpsc::{Receiver, Sender};

use super::show::Style;
use super::{Event, Input};

/// Reads what is typed into `inputs`, and prints `events` until they end.
pub(super) async fn run(
    style: Style,
    inputs: Sender<Input>,
    mut events: Receiver<Event>,
) -> anyhow::Result<()> {
    // A thread of its own: the runtime would wait for the next line when the program ends.
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            let Some(input) = Input::parse(&line) else { continue };
            if inputs.blocking_send(input).is_err() {
                break;
            }
        }
    });
    while let Some(event) = events.recv().await {
        if let Some(text) = style.text(&event) {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush()).context("print")?;
        }
    }
    Ok(())
}
