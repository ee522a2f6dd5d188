//! All agencies of a run: their clients started, followed, and ended together.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use harness::bets_dir::BetsDirectory;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::cluster::Cluster;

/// A client ends with its run; this only has to be longer than any of them.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// One agency that has got its winners.
#[derive(Debug)]
pub struct AgencyEnd {
    /// Its number.
    pub agency: u32,
    /// What its client announced.
    pub end: ClientEnd,
    /// From its client's start to its close.
    pub sending: Duration,
    /// How many bets it sent: those that were not stored before.
    pub sent: u64,
}

/// Runs the clients of all agencies to their ends, in the order of their numbers. The first that
/// fails ends the others: without its close there is no draw to wait for. So does `stop`; then
/// what has not ended is left out.
///
/// # Errors
/// The first client's failure.
pub async fn run(
    cluster: &Cluster,
    bets: &BetsDirectory,
    batch_size: u32,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<AgencyEnd>> {
    let mut clients = JoinSet::new();
    let ending = stop.child_token();
    for agency in 1..=bets.agencies() {
        let launch = cluster.client_launch(agency, bets.path()).with("CLI_BATCH_SIZE", batch_size);
        let started = Instant::now();
        let client = cluster.spawn_client(agency, launch)?;
        clients.spawn(follow(client, started, ending.clone()));
    }
    let (mut ends, mut failure) = (Vec::new(), None);
    while let Some(joined) = clients.join_next().await {
        match joined.map_err(anyhow::Error::from).flatten() {
            Ok(end) => ends.extend(end),
            Err(error) => {
                failure.get_or_insert(error);
                ending.cancel();
            }
        }
    }
    ends.sort_by_key(|end: &AgencyEnd| end.agency);
    failure.map_or(Ok(ends), Err)
}

/// Follows one client, `started` then, to its end; none if it was stopped before.
async fn follow(
    mut client: ClientProcess,
    started: Instant,
    stop: CancellationToken,
) -> anyhow::Result<Option<AgencyEnd>> {
    let log = client.log().clone();
    let closed = async {
        log.wait_for(|line| line.is("agencia_cerrada", "success")).await;
        started.elapsed()
    };
    let ended = async { tokio::join!(closed, client.wait(CLIENT_TIMEOUT)) };
    let (sending, end) = tokio::select! {
        ended = ended => ended,
        () = stop.cancelled() => {
            client.stop().await?;
            return Ok(None);
        }
    };
    let end = end?;
    if !end.status.success() {
        return Err(client.process().failure(format!("ended with {}", end.status)));
    }
    Ok(Some(AgencyEnd { agency: client.agency(), end, sending, sent: client.bets_sent() }))
}
