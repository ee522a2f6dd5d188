//! Whether every promise was kept: from the files, the servers' answers, and what all wrote.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep, timeout};

use super::container::{Container, Written};
use super::plan::Who;
use super::stage::{SERVER_PORT, Stage};
use crate::audit::{self, Announced, Audit, Expected};
use crate::chaos::stage::WINNER;
use crate::chaos::tally::Tally;
use crate::log::LogLine;
use crate::raw_connection::RawConnection;

/// How long servers may take to be healthy again: the check comes every 3 s, and may wait for 10.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is asked.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// How long a client may take to learn of a draw that has been held.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at everything when all agencies have ended, and ends the servers; gives how many bets are
/// stored.
///
/// # Errors
/// Something could not be looked at.
pub async fn reach(stage: &Stage) -> anyhow::Result<u64> {
    let draw = fs::read(stage.volume.draw()).context("read draw.json")?;
    let stored = fs::read(stage.volume.bets()).context("read bets.csv")?;
    // Whoever starts anew must come to the same.
    let anew = stage.seat(Who::Server(0))?;
    anew.container.kill().await?;
    anew.container.start().await?;
    for server in stage.servers() {
        if let Err(error) = ask(stage, &server.container).await {
            let name = server.container.short_name();
            stage.findings.add(format!("{name}, asked at the end: {error:#}"));
        }
    }
    let clients = stage.written_by_clients().await?;
    run_again(stage, &clients).await?;
    stop_all(stage).await?;
    let is_same = fs::read(stage.volume.draw()).context("read draw.json")? == draw
        && fs::read(stage.volume.bets()).context("read bets.csv")? == stored;
    if !is_same {
        stage.findings.add("draw.json or bets.csv changed after all agencies had their winners");
    }
    let servers = stage.written_by_servers().await?;
    check_servers(stage, &servers)?;
    check_files(stage, &clients).await
}

/// Waits until a server is healthy, and asks it about every agency.
async fn ask(stage: &Stage, server: &Container) -> anyhow::Result<()> {
    let begun = Instant::now();
    let state = loop {
        let state = server.state().await?;
        if state.is_healthy {
            break state;
        }
        if begun.elapsed() > HEALTHY_TIMEOUT {
            bail!("it is not healthy after {} s", HEALTHY_TIMEOUT.as_secs());
        }
        sleep(POLL_EVERY).await;
    };
    let address = state.address.context("find its address")?;
    let mut connection = RawConnection::open(SocketAddr::from((address, SERVER_PORT))).await?;
    for (agency, expected) in (1..).zip(&stage.expected) {
        let (rows, digest) = (expected.rows(), expected.digest());
        for (packet, wanted) in [
            (
                format!("AgencyStatus:{agency}"),
                format!("AgencyStatusResponse:{rows};{digest};drawn"),
            ),
            (format!("WinnersRequest:{agency}"), format!("WinnersResponse:{}", expected.winners)),
        ] {
            let answer = connection.ask(&packet).await?;
            if answer != wanted {
                let name = server.short_name();
                stage.findings.add(format!("{name}: {packet} got {answer:?}, not {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Runs a client once more: nothing is stored, and the winners are the same.
async fn run_again(stage: &Stage, before: &[(String, Written)]) -> anyhow::Result<()> {
    let client = stage.seat(Who::Client(0))?;
    let container = &client.container;
    container.start().await?;
    timeout(AGAIN_TIMEOUT, container.wait()).await.context("run a client once more")??;
    let code = container.state().await?.exit_code;
    if code != 0 {
        let name = container.short_name();
        stage.findings.add(format!("{name}, run once more, ended with exit code {code}"));
    }
    let again = stage.written_by_clients().await?;
    if let (Some((name, first)), Some((_, again))) = (before.first(), again.first())
        && first.printed != again.printed
    {
        let (first, again) = (&first.printed, &again.printed);
        stage.findings.add(format!("{name} printed {first:?}, and run once more {again:?}"));
    }
    Ok(())
}

async fn stop_all(stage: &Stage) -> anyhow::Result<()> {
    stage.docker.compose(&["stop"]).await?;
    for server in stage.servers() {
        let (name, state) = (server.container.short_name(), server.container.state().await?);
        if state.exit_code != 0 {
            let code = state.exit_code;
            stage.findings.add(format!("{name}, stopped at the end: exit code {code}"));
        }
    }
    Ok(())
}

/// Takes note of what the faults led to, and of what no fault may lead to.
fn check_servers(stage: &Stage, servers: &[(String, Written)]) -> anyhow::Result<()> {
    let time = audit::time_of_draw(&stage.volume)?;
    for (name, written) in servers {
        for line in audit::other_draws(written.log.iter().map(String::as_str), &time) {
            stage.findings.add(format!("{name} tells of another draw than {time}: {line}"));
        }
        let stored = |line: &String| LogLine(line).is("apuestas_almacenadas", "success");
        if name.contains("-added") && written.log.iter().any(stored) {
            stage.tallies.effects.add("added server that agencies sent bets to");
        }
        for line in written.log.iter().filter(|line| LogLine(line).is_alarm()) {
            count_effect(line, &stage.tallies.effects);
            if LogLine(line).level() != "WARNING" {
                stage.findings.add(format!("{name}: {line}"));
            }
        }
    }
    Ok(())
}

fn count_effect(line: &str, effects: &Tally) {
    for (text, effect) in [
        ("holds the lock", "answer 1 or wait, since a lock was held over 5 s"),
        ("action: mend_log", "unfinished rows of a dead server cut off"),
        ("action: announce", "datagram that could not be sent"),
    ] {
        if line.contains(text) {
            effects.add(effect);
        }
    }
}

async fn check_files(stage: &Stage, clients: &[(String, Written)]) -> anyhow::Result<u64> {
    let (bets, volume) = (stage.bets.clone(), stage.volume.clone());
    let counting = tokio::task::spawn_blocking(move || {
        Audit::of_draw(&Expected { bets: &bets, volume: &volume, winner_number: WINNER })
    });
    let mut audit = counting.await.context("count")??;
    let mut announced: Vec<u32> = Vec::new();
    for (name, written) in clients {
        let agencies = written.agencies();
        let &[agency] = agencies.as_slice() else {
            stage.findings.add(format!("{name} was the agencies {agencies:?}, one after another"));
            continue;
        };
        announced.push(agency);
        let (place, documents) = ("standard output", written.printed.as_slice());
        audit.check_announced(&Announced { agency, place, documents });
    }
    announced.sort_unstable();
    if !announced.iter().copied().eq(1..=stage.bets.agencies()) {
        stage.findings.add(format!("the clients were the agencies {announced:?}"));
    }
    for problem in &audit.problems {
        stage.findings.add(problem.to_string());
    }
    let closes = fs::read_to_string(stage.volume.agencies_closed()).unwrap_or_default();
    if closes.lines().count() > stage.bets.agencies() as usize {
        stage.findings.add("a close stands twice in agencies_closed.txt");
    }
    Ok(audit.agencies.iter().map(|agency| agency.stored).sum())
}
