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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn a_signal_or_the_time_ends_a_run() {
        let (signal, limit) = (CancellationToken::new(), Duration::from_secs(30));
        let stop = Stop::when(signal.clone(), limit);
        assert_eq!(stop.or(async { Ok(7) }).await.unwrap(), 7);
        signal.cancel();
        let late = Stop::when(CancellationToken::new(), limit);
        for (stop, reason) in
            [(stop, INTERRUPTED), (late, "not done after 30 s; --timeout allows more")]
        {
            let error = stop.or(pending::<anyhow::Result<()>>()).await.unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
    }
}
