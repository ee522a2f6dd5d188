//! Whether every promise was kept: from the files, the clients' output and the servers' answers.
//!
//! Most of it is seen while it happens: answers by the `witness`, the draw by `draw_watch`, what
//! clients were told by their seats, and the end after SIGTERM by the servers' seats.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use super::fault::DISK_FULL;
use super::front::list;
use super::stage::{Stage, WINNER};
use crate::audit::{self, AgencyAudit, Announced, Audit, Expected, Problem};
use crate::client_process::{ClientEnd, ClientProcess};
use crate::directory;
use crate::log::LogLine;
use crate::raw_connection::RawConnection;
use crate::server_process::ServerProcess;
use crate::volume::Volume;

/// How long a client may take to learn of a draw that has been held.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Looks at everything when all agencies have ended, and ends the servers; gives how many bets
/// are stored.
///
/// # Errors
/// Something could not be looked at.
pub async fn reach(
    stage: &Stage,
    servers: &mut [ServerProcess],
    ends: &[(u32, ClientEnd)],
) -> anyhow::Result<u64> {
    for server in &*servers {
        check_memory(stage, server).context("tell a server's memory")?;
    }
    // Whoever starts anew must come to the same.
    if let Some(server) = servers.first_mut() {
        server.kill().await?;
        server.restart().await?;
    }
    for server in &*servers {
        let name = server.process().name();
        if let Err(error) = ask(stage, server).await {
            stage.findings.add(format!("{name}, asked at the end: {error:#}"));
        }
    }
    let mut ends = ends.to_vec();
    ends.extend(run_again(stage).await?);
    for server in &mut *servers {
        if let Err(error) = server.stop().await {
            stage.findings.add(format!("{error:#}"));
        }
        let (name, was_full) = (server.process().name(), stage.tallies.faults.has(DISK_FULL));
        for wrong in wrong_alarms(&server.alarms(), was_full) {
            stage.findings.add(format!("{name}: {wrong}"));
        }
    }
    check_draws_told(stage, servers)?;
    stage.draw.look();
    check_files(stage, &ends).await
}

/// What of a server's alarms no fault explains, or is missing: a full disk is told to a person, and
/// only that is.
fn wrong_alarms(alarms: &[String], was_full: bool) -> Vec<String> {
    let is_full = |line: &str| line.contains("No space left on device");
    let is_told = |line: &&String| is_full(line) && LogLine(line).is("store", "fail");
    let is_wrong = |line: &&String| {
        LogLine(line).level() != "WARNING" && !(was_full && is_told(line))
            || is_full(line) && !was_full
    };
    let mut wrong: Vec<_> = alarms.iter().filter(is_wrong).cloned().collect();
    let is_batch = |line: &String| is_full(line) && LogLine(line).level() == "WARNING";
    if alarms.iter().any(is_batch) && !alarms.iter().any(|line| is_told(&line)) {
        wrong.push("a full disk was answered, and no person was told what to do".to_owned());
    }
    wrong
}

/// As much as a server may ever need, in KiB: that of one at which ten thousand agencies wait.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

/// How much memory the server has used at the most since its last start.
fn check_memory(stage: &Stage, server: &ServerProcess) -> anyhow::Result<()> {
    let id = server.process().id().context("find a server's process")?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("read its status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let used = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let used = used.context("find its memory")?;
    if used > MEMORY_KIB_MAX {
        let name = server.process().name();
        stage.findings.add(format!("{name} used {used} KiB of memory"));
    }
    Ok(())
}

/// How often rows of a dead server were cut off, by the servers' logs (only the first hundred
/// warnings of each start are counted), and whether a repeated close was written once.
pub fn count_effects(stage: &Stage, servers: &[ServerProcess]) {
    let closes = fs::read_to_string(stage.volume.agencies_closed()).unwrap_or_default();
    if closes.lines().count() > stage.bets.agencies() as usize {
        stage.findings.add("a close stands twice in agencies_closed.txt");
    }
    let alarms = servers.iter().flat_map(ServerProcess::alarms);
    for _ in alarms.filter(|line| line.contains("action: mend_log")) {
        stage.tallies.effects.add("rows of a dead server cut off");
    }
}

/// However often an instance started, all of them tell of the one draw that is on record.
fn check_draws_told(stage: &Stage, servers: &[ServerProcess]) -> anyhow::Result<()> {
    let time = audit::time_of_draw(&stage.volume)?;
    for server in servers {
        let log = fs::read_to_string(server.process().log_path()).context("read a log")?;
        for line in audit::other_draws(log.lines(), &time) {
            let name = server.process().name();
            stage.findings.add(format!("{name} tells of another draw than {time}: {line}"));
        }
    }
    Ok(())
}

/// Asks an instance about every agency.
async fn ask(stage: &Stage, server: &ServerProcess) -> anyhow::Result<()> {
    let mut connection = RawConnection::open(server.address()).await?;
    for (agency, expected) in (1..).zip(stage.witness.expected()) {
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
                let name = server.process().name();
                stage.findings.add(format!("{name}: {packet} got {answer:?}, not {wanted:?}"));
            }
        }
    }
    Ok(())
}

/// Runs a client once more: nothing is stored, and the winners are the same.
async fn run_again(stage: &Stage) -> anyhow::Result<Option<(u32, ClientEnd)>> {
    let agency = stage.bets.agencies();
    let servers = list(&stage.roster.addresses());
    let launch = stage.launch(agency, servers).with("CLI_BATCH_SIZE", 17);
    let mut client = ClientProcess::spawn("again", agency, launch, stage.directory())?;
    match client.wait(AGAIN_TIMEOUT).await {
        Ok(end) if end.code() == Some(0) => Ok(Some((agency, end))),
        Ok(end) => {
            let error = client.process().failure(format!("ended with {}", end.status));
            stage.findings.add(format!("{error:#}"));
            Ok(None)
        }
        Err(error) => {
            stage.findings.add(format!("{error:#}"));
            client.kill().await?;
            Ok(None)
        }
    }
}

async fn check_files(stage: &Stage, ends: &[(u32, ClientEnd)]) -> anyhow::Result<u64> {
    let (bets, volume) = (stage.bets.clone(), stage.volume.clone());
    let counting = tokio::task::spawn_blocking(move || {
        Audit::of_draw(&Expected { bets: &bets, volume: &volume, winner_number: WINNER })
    });
    let mut audit = counting.await.context("count")??;
    for (agency, end) in ends.iter().filter(|(_, end)| end.code() == Some(0)) {
        let (agency, filed) = (*agency, end.filed.clone().unwrap_or_default());
        let place = "standard output";
        audit.check_announced(&Announced { agency, place, documents: &end.printed });
        audit.check_announced(&Announced { agency, place: "file", documents: &filed });
    }
    for problem in &audit.problems {
        stage.findings.add(problem.to_string());
    }
    let agencies = stage.bets.agencies();
    let right: BTreeSet<u32> =
        ends.iter().filter(|(_, end)| end.code() == Some(0)).map(|(agency, _)| *agency).collect();
    for agency in (1..=agencies).filter(|agency| !right.contains(agency)) {
        stage.findings.add(format!("agency {agency}: no client of it ended with its winners"));
    }
    Ok(audit.agencies.iter().map(|agency| agency.stored).sum())
}

/// What killed servers leave is whole rows in their order, but for a torn end, and every row that
/// was acknowledged.
///
/// # Errors
/// A file could not be read or copied.
pub fn look_at_remains(stage: &Stage) -> anyhow::Result<()> {
    let Ok(bytes) = fs::read(stage.volume.bets()) else { return Ok(()) };
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let copy = Volume::new(&directory::make(&stage.directory().join("remains"))?);
    fs::write(copy.bets(), bytes.get(..end).unwrap_or_default()).context("copy bets.csv")?;
    let expected = Expected { bets: &stage.bets, volume: &copy, winner_number: WINNER };
    let audit = Audit::of_rows(&expected)?;
    for problem in audit.problems {
        if !matches!(problem, Problem::Missing { .. }) {
            stage.findings.add(format!("after all servers were killed: {problem}"));
        }
    }
    for AgencyAudit { agency, stored, .. } in audit.agencies {
        let acknowledged = stage.witness.floor(agency as usize);
        if stored < acknowledged {
            stage.findings.add(format!(
                "after all servers were killed: agency {agency} has {stored} rows, and \
                 {acknowledged} were acknowledged"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_for_the_fault_that_was_caused_and_for_no_other() {
        let line = |level: &str, action: &str, error: &str| {
            let fail = "| result: fail | error: append to bets.csv:";
            format!("2026-01-31 10:00:00 {level:<8} action: {action} {fail} {error}")
        };
        let full = "No space left on device (os error 28)";
        let told = line("ERROR", "store", full);
        let batch = line("WARNING", "apuestas_almacenadas", full);
        let torn = line("WARNING", "mend_log", "cut off");
        let readonly = line("ERROR", "store", "Read-only file system (os error 30)");
        let damaged = line("ERROR", "read_log", full);
        for (alarms, was_full, wrong) in [
            (vec![&torn], false, 0),
            (vec![&told, &batch, &torn], true, 0),
            (vec![&told], false, 1),
            (vec![&batch, &told], false, 2),
            (vec![&batch], true, 1),
            (vec![&told, &readonly], true, 1),
            (vec![&damaged], true, 1),
        ] {
            let alarms: Vec<String> = alarms.into_iter().cloned().collect();
            let found = wrong_alarms(&alarms, was_full);
            assert_eq!(found.len(), wrong, "{alarms:?} {was_full}: {found:?}");
        }
    }
}
