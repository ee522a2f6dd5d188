//! Asks all servers, all the time, how many rows of each agency are stored.
//!
//! **Invariant**: what one server has said, none takes back, whatever happens to it: rows are stored
//! for good, and are the first of the agency's file.

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
    let mut floors = vec![Some(0); stage.expected.len()];
    loop {
        for server in stage.servers() {
            // One that is down, cut off or paused says nothing.
            let _ = timeout(ANSWER_TIMEOUT, ask(stage, &server.container, &mut floors)).await;
            sleep(REST).await;
        }
    }
}

async fn ask(stage: &Stage, server: &Container, floors: &mut [Option<u64>]) -> anyhow::Result<()> {
    let address = server.state().await?.address.context("find its address")?;
    let mut connection = RawConnection::open(SocketAddr::from((address, SERVER_PORT))).await?;
    for ((agency, floor), expected) in (1..).zip(floors).zip(&stage.expected) {
        let answer = connection.ask(&format!("AgencyStatus:{agency}")).await?;
        let status = answer.strip_prefix("AgencyStatusResponse:");
        let (Some(status), Some(least)) = (status, *floor) else { continue };
        let checked = check(status, &expected.digests, least);
        if let Err(wrong) = &checked {
            let name = server.short_name();
            stage.findings.add(format!("{name}: agency {agency}: {status:?}: {wrong}"));
        }
        *floor = checked.ok();
    }
    Ok(())
}

/// The rows of `status`, if they are no fewer than `floor` and have the digest that they must have.
fn check(status: &str, digests: &[String], floor: u64) -> Result<u64, String> {
    let mut fields = status.split(';');
    let rows: Option<u64> = fields.next().and_then(|rows| rows.parse().ok());
    let rows = rows.ok_or("no number of rows")?;
    let wanted = digests.get(rows as usize).ok_or("more rows than its file has")?;
    if fields.next() != Some(wanted) {
        return Err(format!("the digest is not {wanted}"));
    }
    if rows < floor { Err(format!("{floor} rows had been stored")) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_taken_back() {
        let digests = ["d0", "d1", "d2"].map(str::to_owned);
        assert_eq!(check("2;d2;open", &digests, 1), Ok(2));
        for wrong in ["0;d0;open", "2;d1;open", "3;d3;open", "x;d0;open"] {
            assert!(check(wrong, &digests, 1).is_err(), "{wrong}");
        }
    }
}
