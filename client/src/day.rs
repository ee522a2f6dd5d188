//! An agency's day, whichever servers there are: all bets stored, the agency closed, its winners.
//!
//! Only chooses between the replay and the fallback, and goes back from the fallback when a
//! server turns out to know more.

use std::sync::Arc;

use crate::legacy::{self, Fallback};
use crate::replay::{self, Stored, Work};
use crate::session::{Ended, Session};
use crate::winners::{self, Servers};

/// Does all of it and gives the winners' documents, `;` between them.
///
/// # Errors
/// See [`Ended`].
pub async fn run(session: &mut Session, work: Work<'_>) -> Result<Arc<str>, Ended> {
    let servers = store(session, work).await?;
    session.bar().finish_and_clear();
    // What an old server stored twice wins twice.
    let rows = matches!(servers, Servers::Known(_)).then(|| work.bets.rows());
    let winners = winners::wait(session, servers, rows).await?;
    winners::check_own(&winners, work.bets, work.source)?;
    Ok(winners)
}

async fn store<'b>(session: &mut Session, work: Work<'b>) -> Result<Servers<'b>, Ended> {
    let known = Servers::Known(Some(Stored::new(work)));
    match replay::replay(session, work).await {
        Err(Ended::OldServers) => {}
        replayed => return replayed.map(|()| known),
    }
    if legacy::replay(session, work).await? == Fallback::Closed {
        return Ok(Servers::Old);
    }
    replay::replay(session, work).await.map_err(after_fallback)?;
    Ok(known)
}

/// A conflict may be this run's own doing.
fn after_fallback(ended: Ended) -> Ended {
    match ended {
        Ended::Conflict(what) => Ended::Conflict(format!(
            "{what}; or rows are stored twice: this run sent some by StoreBatch (CLI_FALLBACK) \
             while no server answered AgencyStatus"
        )),
        ended => ended,
    }
}
