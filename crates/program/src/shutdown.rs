//! The end of a program, as its signals ask for it.

use std::io;
use std::process;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Signals that come this close together count as one: whoever ends a process and then its group
/// asks once.
const TOGETHER: Duration = Duration::from_millis(500);

/// A token that is cancelled at the first SIGTERM or SIGINT; a second one ends the process at
/// once, with exit code 1. Handlers are needed even for the default: process 1 of a container
/// has none. Nothing may rest on a shutdown's being orderly: SIGKILL is always possible.
///
/// # Errors
/// The system refused to install a handler.
pub fn on_signal() -> io::Result<CancellationToken> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    tokio::spawn(watch(token.clone(), terminate, interrupt));
    Ok(token)
}

async fn watch(token: CancellationToken, mut terminate: Signal, mut interrupt: Signal) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let signal = next().await;
    info!(action = "shutdown", result = "in_progress", signal);
    token.cancel();
    let first = Instant::now();
    let mut signal = next().await;
    while first.elapsed() < TOGETHER {
        signal = next().await;
    }
    warn!(action = "shutdown", result = "fail", signal, error = "a second signal ends it at once");
    process::exit(1);
}
