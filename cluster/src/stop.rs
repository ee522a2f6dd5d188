//! The early end of a run: a signal, or its time is up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The reason of an end that a signal asked for.
const INTERRUPTED: &str = "interrupted";

/// Says when to end early, and why.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Stop {
    /// Ends when `signal` is cancelled or `timeout` is over.
    pub fn when(signal: CancellationToken, timeout: Duration) -> Self {
        let stop = Self { token: CancellationToken::new(), reason: Arc::default() };
        let watched = stop.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                () = signal.cancelled() => INTERRUPTED.to_owned(),
                () = sleep(timeout) => {
                    format!("not done after {} s; --timeout allows more", timeout.as_secs())
                }
            };
            watched.reason.get_or_init(|| reason);
            watched.token.cancel();
        });
        stop
    }

    /// Is cancelled when the run has to end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Whether a signal asked for the end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.reason.get().is_some_and(|reason| reason == INTERRUPTED)
    }

    /// # Errors
    /// The run has to end; says why.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.reason.get() {
            Some(reason) => Err(anyhow!("{reason}")),
            None => Ok(()),
        }
    }

    /// What `work` gives, unless the run has to end before; then `work` is dropped.
    ///
    /// # Errors
    /// Those of `work`, and the early end.
    pub async fn or<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.token.cancelled() => {
                self.check()?;
                Err(anyhow!("stopped"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn the_first_reason_stands() {
        let signal = CancellationToken::new();
        let stop = Stop::when(signal.clone(), Duration::from_secs(600));
        assert!(stop.check().is_ok());
        assert_eq!(stop.or(async { Ok(7) }).await.unwrap(), 7);
        signal.cancel();
        let error = stop.or(pending::<anyhow::Result<()>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_out() {
        let stop = Stop::when(CancellationToken::new(), Duration::from_secs(30));
        let error = stop.or(pending::<anyhow::Result<()>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "not done after 30 s; --timeout allows more");
    }
}
