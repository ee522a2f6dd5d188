//! Ends a program in order after SIGTERM or SIGINT.

use std::io;
use std::process;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Signals within this time count as one, because some programs send a signal to a process and then
/// to its group.
const SAME_SIGNAL_TIME: Duration = Duration::from_millis(500);

/// Returns a token that the first SIGTERM or SIGINT cancels. A second signal ends the process at
/// once, with exit code 1. Process 1 of a container needs these handlers, because it has no default
/// ones. No promise may depend on this order, because SIGKILL is always possible.
///
/// # Errors
/// A handler cannot be installed.
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
    while first.elapsed() < SAME_SIGNAL_TIME {
        signal = next().await;
    }
    warn!(action = "shutdown", result = "fail", signal, error = "a second signal ends it at once");
    process::exit(1);
}
