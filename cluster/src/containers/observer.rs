//! Asks all servers, all the time, how many rows of each agency are stored.
//!
//! **Invariant**: what one server has said, none takes back, whatever happens to it: rows are stored
//! for good, and are the first of the agency's file; who has closed has all of them and stays
//! closed; and a draw that was held is there for every agency.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use super::container::Container;
use super::stage::{SERVER_PORT, Stage};
use crate::raw_connection::RawConnection;

/// How long is rested between two servers: this is not to be a load.
const REST: Duration = Duration::from_millis(150);

/// How long a server may take to answer about all agencies: the next one may be alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Goes from server to server for ever.
pub async fn observe(stage: &Stage) {
    // What is wrong with an agency is told once.
    let mut floors = vec![Some(Said::default()); stage.expected.len()];
    loop {
        for server in stage.servers() {
            // One that is down, cut off or paused says nothing.
            let _ = timeout(ANSWER_TIMEOUT, ask(stage, &server.container, &mut floors)).await;
            sleep(REST).await;
        }
    }
}

async fn ask(stage: &Stage, server: &Container, floors: &mut [Option<Said>]) -> anyhow::Result<()> {
    let address = server.state().await?.address.context("find its address")?;
    let mut connection = RawConnection::open(SocketAddr::from((address, SERVER_PORT))).await?;
    let is_drawn = floors.iter().flatten().any(|said| said.state == Standing::Drawn);
    for ((agency, floor), expected) in (1..).zip(floors).zip(&stage.expected) {
        let answer = connection.ask(&format!("AgencyStatus:{agency}")).await?;
        let status = answer.strip_prefix("AgencyStatusResponse:");
        let (Some(status), Some(mut least)) = (status, *floor) else { continue };
        if is_drawn {
            least.state = Standing::Drawn;
        }
        let checked = check(status, &expected.digests, least);
        if let Err(wrong) = &checked {
            let name = server.short_name();
            stage.findings.add(format!("{name}: agency {agency}: {status:?}: {wrong}"));
        }
        *floor = checked.ok();
    }
    Ok(())
}

/// Where an agency stands, in the only order in which it can come to stand there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    #[default]
    Open,
    Closed,
    Drawn,
}

/// What was said of an agency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    rows: u64,
    state: Standing,
}

/// What `status` says, if that takes back nothing of `least` and is right by the agency's file.
fn check(status: &str, digests: &[String], least: Said) -> Result<Said, String> {
    let fields: Vec<&str> = status.split(';').collect();
    let &[rows, digest, state] = fields.as_slice() else { return Err("not three fields".into()) };
    let rows: u64 = rows.parse().map_err(|_| "no number of rows")?;
    let wanted = digests.get(rows as usize).ok_or("more rows than its file has")?;
    if digest != wanted {
        return Err(format!("the digest is not {wanted}"));
    }
    let state = match state {
        "open" => Standing::Open,
        "closed" => Standing::Closed,
        "drawn" => Standing::Drawn,
        _ => return Err("no state".into()),
    };
    if rows < least.rows {
        return Err(format!("{} rows had been stored", least.rows));
    }
    if state < least.state {
        return Err(format!("it had been {:?}", least.state));
    }
    if state > Standing::Open && rows as usize + 1 < digests.len() {
        return Err(format!("{state:?} without all of {} rows", digests.len() - 1));
    }
    Ok(Said { rows, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_taken_back() {
        let digests = ["d0", "d1", "d2"].map(str::to_owned);
        let said = |rows, state| Said { rows, state };
        let least = said(1, Standing::Open);
        assert_eq!(check("1;d1;open", &digests, least), Ok(least));
        assert_eq!(check("2;d2;open", &digests, least), Ok(said(2, Standing::Open)));
        assert_eq!(check("2;d2;drawn", &digests, least), Ok(said(2, Standing::Drawn)));
        for wrong in [
            "0;d0;open",
            "2;d1;open",
            "3;d3;open",
            "x;d0;open",
            "2;d2",
            "2;d2;shut",
            "1;d1;closed",
            "1;d1;drawn",
        ] {
            assert!(check(wrong, &digests, least).is_err(), "{wrong}");
        }
        assert!(check("2;d2;open", &digests, said(2, Standing::Closed)).is_err());
        assert!(check("2;d2;closed", &digests, said(2, Standing::Drawn)).is_err());
    }
}
