//! One agency run: store all bets, close the agency, wait for its winners.
//!
//! Chooses between the replay and the fallback, and returns from the fallback to the replay when a
//! server turns out not to be a legacy server. Sends no packet itself.

use std::sync::Arc;

use crate::fallback::{self, FallbackEnd};
use crate::input::Input;
use crate::replay::{self, StoredRows};
use crate::session::{Session, SessionError};
use crate::winners::{self, Servers};

/// Does all of it and returns the winners' documents, with `;` between them.
///
/// # Errors
/// See [`SessionError`].
pub async fn run(session: &mut Session, input: &Input) -> Result<Arc<str>, SessionError> {
    let servers = store_and_close(session, input).await?;
    session.bar.finish_and_clear();
    let documents = winners::wait(session, servers).await?;
    winners::check_documents(&documents, &input.bets, &input.source)?;
    Ok(documents)
}

async fn store_and_close<'b>(
    session: &mut Session,
    input: &'b Input,
) -> Result<Servers<'b>, SessionError> {
    let current = Servers::Current(Some(StoredRows::new(input)));
    match replay::replay(session, input).await {
        Err(SessionError::LegacyServers) => {}
        replayed => return replayed.map(|()| current),
    }
    if fallback::replay(session, input).await? == FallbackEnd::Closed {
        return Ok(Servers::Legacy);
    }
    replay::replay(session, input).await.map_err(|error| match error {
        // The fallback stores at least once, so this run may have caused the conflict itself.
        SessionError::Conflict(what) => SessionError::Conflict(format!(
            "{what}; or rows are stored twice: this run sent some by StoreBatch (CLI_FALLBACK) \
             while no server answered AgencyStatus"
        )),
        error => error,
    })?;
    Ok(current)
}
