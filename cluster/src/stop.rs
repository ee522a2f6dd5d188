//! The early end of a run: a signal, or its time is up.

use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The reason of an end that a signal asked for.
pub const INTERRUPTED: &str = "interrupted";

/// Says when to end early, and why.
#[derive(Debug, Clone)]
pub struct Stop {
    signal: CancellationToken,
    token: CancellationToken,
    timeout: Duration,
}

impl Stop {
    /// Ends when `signal` is cancelled or `timeout` is over.
    pub fn when(signal: CancellationToken, timeout: Duration) -> Self {
        let token = signal.child_token();
        let late = token.clone();
        tokio::spawn(async move {
            sleep(timeout).await;
            late.cancel();
        });
        Self { signal, token, timeout }
    }

    /// Is cancelled when the run has to end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// # Errors
    /// The run has to end; says why.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.signal.is_cancelled() {
            bail!(INTERRUPTED);
        }
        if self.token.is_cancelled() {
            bail!("not done after {} s; --timeout allows more", self.timeout.as_secs());
        }
        Ok(())
    }

    /// What `work` gives, unless the run has to end before; then `work` is dropped.
    ///
    /// # Errors
    /// Those of `work`, and the early end.
    pub async fn or<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let done = self.token.run_until_cancelled(work).await;
        done.unwrap_or_else(|| self.check().and_then(|()| bail!("stopped")))
    }
}
