//! Asks all servers, all the time, how many rows of each agency are stored.
//!
//! **Invariant**: what one server has said, none takes back, whatever happens to it: rows are
//! stored for good, and are the first of the agency's file, in whole batches; who has closed has
//! all of them and stays closed; and a draw that was held is there for every agency.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{sleep, timeout};

use super::container::Container;
use super::environment::{ContainerEnvironment, SERVER_PORT};
use harness::raw_connection::RawConnection;

/// How long is rested between two servers: this is not to be a load.
const REST: Duration = Duration::from_millis(150);

/// How long a server may take to answer about all agencies: the next one may be alive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Goes from server to server for ever.
pub async fn observe(environment: &ContainerEnvironment) {
    // What is wrong with an agency is told once.
    let mut floors = vec![Some(Said::default()); environment.expected.len()];
    loop {
        for server in environment.servers() {
            // One that is down, cut off or paused says nothing.
            let _ = timeout(ANSWER_TIMEOUT, ask(environment, &server.container, &mut floors)).await;
            sleep(REST).await;
        }
    }
}

async fn ask(
    environment: &ContainerEnvironment,
    server: &Container,
    floors: &mut [Option<Said>],
) -> anyhow::Result<()> {
    let address = server.state().await?.address.context("find its address")?;
    let mut connection = RawConnection::open(SocketAddr::from((address, SERVER_PORT))).await?;
    let is_drawn = floors.iter().flatten().any(|said| said.state == AgencyState::Drawn);
    for ((agency, floor), expected) in (1..).zip(floors).zip(&environment.expected) {
        let answer = connection.ask(&format!("AgencyStatus:{agency}")).await?;
        let status = answer.strip_prefix("AgencyStatusResponse:");
        let (Some(status), Some(mut least)) = (status, *floor) else { continue };
        if is_drawn {
            least.state = AgencyState::Drawn;
        }
        let checked = check(status, &expected.digests, environment.batch, least);
        if let Err(wrong) = &checked {
            let name = server.short_name();
            environment.findings.add(format!("{name}: agency {agency}: {status:?}: {wrong}"));
        }
        *floor = checked.ok();
    }
    Ok(())
}

/// Where an agency stands, in the only order in which it can come to stand there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum AgencyState {
    #[default]
    Open,
    Closed,
    Drawn,
}

/// What was said of an agency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    rows: u64,
    state: AgencyState,
}

/// What `status` says, if that takes back nothing of `least` and is right by the agency's file.
/// All clients send batches of `batch` rows from the first row on, the last one shorter.
fn check(status: &str, digests: &[String], batch: u64, least: Said) -> Result<Said, String> {
    let fields: Vec<&str> = status.split(';').collect();
    let &[rows, digest, state] = fields.as_slice() else { return Err("not three fields".into()) };
    let rows: u64 = rows.parse().map_err(|_| "no number of rows")?;
    let wanted = digests.get(rows as usize).ok_or("more rows than its file has")?;
    if digest != wanted {
        return Err(format!("the digest is not {wanted}"));
    }
    let state = match state {
        "open" => AgencyState::Open,
        "closed" => AgencyState::Closed,
        "drawn" => AgencyState::Drawn,
        _ => return Err("no state".into()),
    };
    if rows < least.rows {
        return Err(format!("{} rows had been stored", least.rows));
    }
    if state < least.state {
        return Err(format!("it had been {:?}", least.state));
    }
    let all = digests.len().saturating_sub(1) as u64;
    if state > AgencyState::Open && rows < all {
        return Err(format!("{state:?} without all of {all} rows"));
    }
    if !rows.is_multiple_of(batch) && rows != all {
        return Err(format!("a part of a batch of {batch} rows is stored"));
    }
    Ok(Said { rows, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_taken_back() {
        let digests = ["d0", "d1", "d2", "d3"].map(str::to_owned);
        let said = |rows, state| Said { rows, state };
        let [none, some] = [0, 2].map(|rows| said(rows, AgencyState::Open));
        for (status, least, right) in [
            ("0;d0;open", none, none),
            ("2;d2;open", none, some),
            ("2;d2;open", some, some),
            ("3;d3;closed", some, said(3, AgencyState::Closed)),
            ("3;d3;drawn", some, said(3, AgencyState::Drawn)),
        ] {
            assert_eq!(check(status, &digests, 2, least), Ok(right), "{status}");
        }
        let [closed, drawn] = [AgencyState::Closed, AgencyState::Drawn].map(|state| said(3, state));
        for (status, least, wrong) in [
            ("0;d0;open", some, "2 rows had been stored"),
            ("2;d1;open", none, "the digest is not d2"),
            ("4;d4;open", none, "more rows than its file has"),
            ("x;d0;open", none, "no number of rows"),
            ("2;d2", none, "not three fields"),
            ("2;d2;shut", none, "no state"),
            ("1;d1;open", none, "a part of a batch of 2 rows is stored"),
            ("2;d2;closed", none, "Closed without all of 3 rows"),
            ("2;d2;drawn", none, "Drawn without all of 3 rows"),
            ("3;d3;open", closed, "it had been Closed"),
            ("3;d3;closed", drawn, "it had been Drawn"),
        ] {
            assert_eq!(check(status, &digests, 2, least), Err(wrong.to_owned()), "{status}");
        }
    }
}
