//! Whether every promise was kept: from the files, the servers' answers, and what all wrote.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep, timeout};

use super::container::{Container, Written};
use super::environment::{ContainerEnvironment, SERVER_PORT};
use super::plan::Who;
use crate::common;
use crate::common::checks::{AGAIN_TIMEOUT, Case};
use crate::common::tally::Tally;
use harness::log::LogLine;
use harness::raw_connection::RawConnection;
use harness::volume::Volume;
use oracle::audit::Announced;

/// How long servers may take to be healthy again: the check comes every 3 s, and may wait for 10.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is asked.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Looks at everything when all agencies have ended, and ends the servers; gives how many bets are
/// stored.
///
/// # Errors
/// Something could not be looked at.
pub async fn check_all(environment: &ContainerEnvironment) -> anyhow::Result<u64> {
    let before = Remains::of(&environment.volume)?;
    // What starts anew must come to the same.
    let anew = environment.choose(Who::Server(0))?;
    anew.container.kill().await?;
    anew.container.start().await?;
    for server in environment.servers() {
        if let Err(error) = ask(environment, &server.container).await {
            let name = server.container.short_name();
            environment.findings.add(format!("{name}, asked at the end: {error:#}"));
        }
    }
    let clients = environment.written_by_clients().await?;
    run_again(environment, &clients).await?;
    stop_all(environment).await?;
    if Remains::of(&environment.volume)? != before {
        environment
            .findings
            .add("draw.json or bets.csv changed after all agencies had their winners");
    }
    let (case, effects) = (environment.case(), environment.tallies.effects.clone());
    let servers = environment.written_by_servers().await?;
    let judging = tokio::task::spawn_blocking(move || {
        check_servers(&case, &servers, &effects)?;
        check_clients(&case, &clients)
    });
    judging.await.context("judge")?
}

/// What nobody may change any more when all agencies have their winners.
#[derive(PartialEq, Eq)]
struct Remains {
    draw: Vec<u8>,
    bets: Vec<u8>,
}

impl Remains {
    fn of(volume: &Volume) -> anyhow::Result<Self> {
        let draw = fs::read(volume.draw()).context("read draw.json")?;
        let bets = fs::read(volume.bets()).context("read bets.csv")?;
        Ok(Self { draw, bets })
    }
}

/// Waits until a server is healthy, and asks it about every agency.
async fn ask(environment: &ContainerEnvironment, server: &Container) -> anyhow::Result<()> {
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
    let connection = RawConnection::open(SocketAddr::from((address, SERVER_PORT))).await?;
    let name = server.short_name();
    common::checks::ask(name, connection, &environment.expected, &environment.findings).await
}

/// Runs a client once more: nothing is stored, and the winners are the same.
async fn run_again(
    environment: &ContainerEnvironment,
    before: &[(String, Written)],
) -> anyhow::Result<()> {
    let client = environment.choose(Who::Client(0))?;
    let container = &client.container;
    container.start().await?;
    timeout(AGAIN_TIMEOUT, container.wait()).await.context("run a client once more")??;
    let code = container.state().await?.exit_code;
    if code != 0 {
        let name = container.short_name();
        environment.findings.add(format!("{name}, run once more, ended with exit code {code}"));
    }
    let again = environment.written_by_clients().await?;
    if let (Some((name, first)), Some((_, again))) = (before.first(), again.first())
        && first.printed != again.printed
    {
        let (first, again) = (&first.printed, &again.printed);
        environment.findings.add(format!("{name} printed {first:?}, and run once more {again:?}"));
    }
    Ok(())
}

async fn stop_all(environment: &ContainerEnvironment) -> anyhow::Result<()> {
    environment.docker.compose(&["stop"]).await?;
    for server in environment.servers() {
        let (name, state) = (server.container.short_name(), server.container.state().await?);
        if state.exit_code != 0 {
            let code = state.exit_code;
            environment.findings.add(format!("{name}, stopped at the end: exit code {code}"));
        }
    }
    Ok(())
}

/// Takes note of what the faults led to, and of what no fault may lead to.
fn check_servers(
    case: &Case,
    servers: &[(String, Written)],
    effects: &Tally,
) -> anyhow::Result<()> {
    for (name, written) in servers {
        case.check_draws_told(name, written.log.iter().map(String::as_str))?;
        let stored = |line: &String| LogLine(line).is("apuestas_almacenadas", "success");
        if name.contains("-added") && written.log.iter().any(stored) {
            effects.add("added server that agencies sent bets to");
        }
        for line in written.log.iter().filter(|line| LogLine(line).is_alarm()) {
            count_effect(line, effects);
            if LogLine(line).level() != "WARNING" {
                case.findings.add(format!("{name}: {line}"));
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

/// Compares the files, and what the clients printed, with what had to come out; gives how many bets
/// are stored.
fn check_clients(case: &Case, clients: &[(String, Written)]) -> anyhow::Result<u64> {
    let mut announced = Vec::new();
    for (name, written) in clients {
        let agencies = written.agencies();
        let &[agency] = agencies.as_slice() else {
            case.findings.add(format!("{name} was the agencies {agencies:?}, one after another"));
            continue;
        };
        let (place, documents) = ("standard output", written.printed.as_slice());
        announced.push(Announced { agency, place, documents });
    }
    let mut agencies: Vec<u32> = announced.iter().map(|announced| announced.agency).collect();
    agencies.sort_unstable();
    if !agencies.iter().copied().eq(1..=case.bets.agencies()) {
        case.findings.add(format!("the clients were the agencies {agencies:?}"));
    }
    case.check_files(&announced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::correct_lottery::{CorrectLottery, TIME, assert_found, draw_told};

    const CLAIM: &str = "2026-01-31 10:00:00 INFO     action: claim | result: success | agency: ";

    /// What both clients wrote, as it should be.
    fn right_clients(lottery: &CorrectLottery) -> Vec<(String, Written)> {
        let written = |(agency, winners): (u32, &Vec<String>)| {
            let (log, printed) = (vec![format!("{CLAIM}{agency}")], winners.clone());
            (format!("client-{agency}"), Written { log, printed })
        };
        (1..).zip(&lottery.winners).map(written).collect()
    }

    #[test]
    fn clients_with_other_winners_or_numbers_are_found() {
        let mut lottery = CorrectLottery::new();
        assert_eq!(check_clients(&lottery.case, &right_clients(&lottery)).unwrap(), 5);
        assert_eq!(lottery.found(), [""; 0]);
        type Change = fn(&mut Vec<(String, Written)>);
        let cases: [(&str, Change); 5] = [
            ("its winners on standard output are [13, 11]", |all| all[0].1.printed.reverse()),
            ("its winners on standard output are []", |all| all[1].1.printed.clear()),
            ("the clients were the agencies [1]", |all| all.truncate(1)),
            ("the clients were the agencies [1, 1]", |all| all[1].1.log = all[0].1.log.clone()),
            ("client-2 was the agencies [2, 1]", |all| all[1].1.log.push(format!("{CLAIM}1"))),
        ];
        for (wanted, change) in cases {
            let mut clients = right_clients(&lottery);
            change(&mut clients);
            check_clients(&lottery.case, &clients).unwrap();
            assert_found(&lottery.found(), wanted);
        }
        lottery.store(&lottery.rows()[1..]);
        check_clients(&lottery.case, &right_clients(&lottery)).unwrap();
        assert_ne!(lottery.found(), [""; 0]);
    }

    #[test]
    fn servers_that_tell_of_another_draw_or_of_errors_are_found() {
        let mut lottery = CorrectLottery::new();
        let (effects, line) = (Tally::default(), |level: &str| {
            format!("2026-01-31 10:00:00 {level:<8} action: mend_log | result: fail | error: x")
        });
        for (log, count) in [
            (vec![draw_told(TIME), line("WARNING")], 0),
            (vec![draw_told(TIME), draw_told("2026-01-31T11:00:00Z")], 1),
            (vec![line("ERROR"), line("CRITICAL")], 2),
            (vec!["thread 'main' panicked at src/main.rs:1:1:".to_owned()], 1),
        ] {
            let written = Written { log, printed: Vec::new() };
            check_servers(&lottery.case, &[("server-1".to_owned(), written)], &effects).unwrap();
            let found = lottery.found();
            assert_eq!(found.len(), count, "{found:?}");
        }
    }

    #[test]
    fn rows_and_draws_that_come_after_the_winners_are_found() {
        let lottery = CorrectLottery::new();
        let before = Remains::of(&lottery.case.volume).unwrap();
        assert!(before == Remains::of(&lottery.case.volume).unwrap());
        let mut rows = lottery.rows();
        rows.push(rows[0].clone());
        lottery.store(&rows);
        assert!(before != Remains::of(&lottery.case.volume).unwrap());
        lottery.store(&lottery.rows());
        assert!(before == Remains::of(&lottery.case.volume).unwrap());
        lottery.draw(1);
        assert!(before != Remains::of(&lottery.case.volume).unwrap());
    }
}
