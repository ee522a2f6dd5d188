//! Whether every promise was kept: from the files, the clients' output and the servers' answers.
//!
//! Most of it is seen while it happens: answers by the `answer_checker`, the draw by `draw_watch`, what
//! clients were told and the end after SIGTERM by their controllers.

use std::fs;

use anyhow::Context as _;

use super::environment::ProcessEnvironment;
use super::fault::DISK_FULL;
use crate::common;
use crate::common::checks::{AGAIN_TIMEOUT, Case};
use crate::processes::network::entry_points::list;
use harness::client_process::{ClientEnd, ClientProcess};
use harness::directory;
use harness::log::LogLine;
use harness::processes;
use harness::raw_connection::RawConnection;
use harness::server_process::ServerProcess;
use harness::volume::Volume;
use oracle::audit::{AgencyAudit, Announced, Audit, Problem};

/// Looks at everything when all agencies have ended, and ends the servers; gives how many bets
/// are stored.
///
/// # Errors
/// Something could not be looked at.
pub async fn check_all(
    environment: &ProcessEnvironment,
    servers: &mut [ServerProcess],
    ends: &[(u32, ClientEnd)],
) -> anyhow::Result<u64> {
    for server in &*servers {
        check_memory(environment, server).context("tell a server's memory")?;
    }
    // What starts anew must come to the same.
    if let Some(server) = servers.first_mut() {
        server.kill().await?;
        server.restart().await?;
    }
    for server in &*servers {
        let name = server.process().name();
        if let Err(error) = ask(environment, server).await {
            environment.findings.add(format!("{name}, asked at the end: {error:#}"));
        }
    }
    let mut ends = ends.to_vec();
    ends.extend(run_again(environment).await?);
    for server in &mut *servers {
        if let Err(error) = server.stop().await {
            environment.findings.add(format!("{error:#}"));
        }
        let (name, was_full) = (server.process().name(), environment.tallies.faults.has(DISK_FULL));
        for wrong in wrong_alarms(&server.alarms(), was_full) {
            environment.findings.add(format!("{name}: {wrong}"));
        }
    }
    for server in &*servers {
        let log = fs::read_to_string(server.process().log_path()).context("read a log")?;
        environment.case().check_draws_told(server.process().name(), log.lines())?;
    }
    environment.draw.look();
    let case = environment.case();
    let counting = tokio::task::spawn_blocking(move || check_ends(&case, &ends));
    counting.await.context("count")?
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

/// As much as a server may ever need, in MiB: that of one at which ten thousand agencies wait.
const MEMORY_MIB_MAX: f64 = 64.0;

/// How much memory the server has used at the most since its last start.
fn check_memory(environment: &ProcessEnvironment, server: &ServerProcess) -> anyhow::Result<()> {
    let id = server.process().id().context("find a server's process")?;
    let used = processes::memory_high_mib(id)?;
    if used > MEMORY_MIB_MAX {
        let name = server.process().name();
        environment.findings.add(format!("{name} used {used:.1} MiB of memory"));
    }
    Ok(())
}

/// How often rows of a dead server were cut off, by the servers' logs (only the first hundred
/// warnings of each start are counted).
pub fn count_effects(environment: &ProcessEnvironment, servers: &[ServerProcess]) {
    let alarms = servers.iter().flat_map(ServerProcess::alarms);
    for _ in alarms.filter(|line| line.contains("action: mend_log")) {
        environment.tallies.effects.add("rows of a dead server cut off");
    }
}

/// Asks an instance about every agency.
async fn ask(environment: &ProcessEnvironment, server: &ServerProcess) -> anyhow::Result<()> {
    let connection = RawConnection::open(server.address()).await?;
    let name = server.process().name();
    common::checks::ask(name, connection, environment.checker.expected(), &environment.findings)
        .await
}

/// Runs a client once more: nothing is stored, and the winners are the same.
async fn run_again(environment: &ProcessEnvironment) -> anyhow::Result<Option<(u32, ClientEnd)>> {
    let agency = environment.bets.agencies();
    let servers = list(&environment.registry.addresses());
    let launch = environment.launch(agency, servers).with("CLI_BATCH_SIZE", 17);
    let mut client = ClientProcess::spawn("again", agency, launch, environment.directory())?;
    match client.wait(AGAIN_TIMEOUT).await {
        Ok(end) if end.code() == Some(0) => Ok(Some((agency, end))),
        Ok(end) => {
            let error = client.process().failure(format!("ended with {}", end.status));
            environment.findings.add(format!("{error:#}"));
            Ok(None)
        }
        Err(error) => {
            environment.findings.add(format!("{error:#}"));
            client.kill().await?;
            Ok(None)
        }
    }
}

/// Compares the files, and what the agencies were told, with what had to come out; gives how many
/// bets are stored.
fn check_ends(case: &Case, ends: &[(u32, ClientEnd)]) -> anyhow::Result<u64> {
    let right: Vec<_> = ends.iter().filter(|(_, end)| end.code() == Some(0)).collect();
    let mut announced = Vec::new();
    for (agency, end) in &right {
        let (agency, filed) = (*agency, end.filed.as_deref().unwrap_or_default());
        let place = "standard output";
        announced.push(Announced { agency, place, documents: &end.printed });
        announced.push(Announced { agency, place: "file", documents: filed });
    }
    let stored = case.check_files(&announced)?;
    let has_ended = |agency: &u32| right.iter().any(|(ended, _)| ended == agency);
    for agency in (1..=case.bets.agencies()).filter(|agency| !has_ended(agency)) {
        case.findings.add(format!("agency {agency}: no client of it ended with its winners"));
    }
    Ok(stored)
}

/// What killed servers leave is whole rows in their order, but for a torn end, and every row that
/// was acknowledged.
///
/// # Errors
/// A file could not be read or copied.
pub fn look_at_remains(environment: &ProcessEnvironment) -> anyhow::Result<()> {
    let copy = directory::make(&environment.directory().join("remains"))?;
    let acknowledged = |agency| environment.checker.floor(agency as usize);
    check_remains(&environment.case(), &Volume::new(&copy), acknowledged)
}

/// As [`look_at_remains`]; the whole lines are copied to `copy`.
fn check_remains(
    case: &Case,
    copy: &Volume,
    acknowledged: impl Fn(u32) -> u64,
) -> anyhow::Result<()> {
    let bytes = fs::read(case.volume.bets()).unwrap_or_default();
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    fs::write(copy.bets(), bytes.get(..end).unwrap_or_default()).context("copy bets.csv")?;
    let audit = Audit::of_rows(&Case { volume: copy.clone(), ..case.clone() }.expected())?;
    for problem in audit.problems {
        if !matches!(problem, Problem::Missing { .. }) {
            case.findings.add(format!("after all servers were killed: {problem}"));
        }
    }
    for AgencyAudit { agency, stored, .. } in audit.agencies {
        let acknowledged = acknowledged(agency);
        if stored < acknowledged {
            case.findings.add(format!(
                "after all servers were killed: agency {agency} has {stored} rows, and \
                 {acknowledged} were acknowledged"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;
    use crate::common::correct_lottery::{CorrectLottery, WRONG_ROWS, assert_found};

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

    /// The ends of both agencies' clients, as they should be.
    fn right_ends(lottery: &CorrectLottery) -> Vec<(u32, ClientEnd)> {
        let end = |winners: &Vec<String>| {
            let (printed, filed) = (winners.clone(), Some(winners.clone()));
            ClientEnd { status: ExitStatus::default(), printed, filed }
        };
        (1..).zip(lottery.winners.iter().map(end)).collect()
    }

    #[test]
    fn an_agency_without_its_winners_or_with_others_is_found() {
        let mut lottery = CorrectLottery::new();
        assert_eq!(check_ends(&lottery.case, &right_ends(&lottery)).unwrap(), 5);
        assert_eq!(lottery.found(), [""; 0]);
        type Change = fn(&mut Vec<(u32, ClientEnd)>);
        let cases: [(&str, Change); 5] = [
            ("agency 2: no client of it ended", |ends| ends.truncate(1)),
            ("agency 1: no client of it ended", |ends| ends[0].1.status = ExitStatus::from_raw(9)),
            ("its winners on standard output are [11]", |ends| ends[0].1.printed.truncate(1)),
            ("its winners on file are [11]", |ends| {
                ends[0].1.filed.as_mut().unwrap().truncate(1);
            }),
            ("its winners on file are []", |ends| ends[0].1.filed = None),
        ];
        for (wanted, change) in cases {
            let mut ends = right_ends(&lottery);
            change(&mut ends);
            check_ends(&lottery.case, &ends).unwrap();
            assert_found(&lottery.found(), wanted);
        }
        lottery.store(&lottery.rows()[1..]);
        check_ends(&lottery.case, &right_ends(&lottery)).unwrap();
        assert_ne!(lottery.found(), [""; 0]);
    }

    /// What is found when killed servers leave `rows`, and so many of each agency were
    /// acknowledged.
    fn found_in_remains(
        lottery: &mut CorrectLottery,
        rows: &str,
        acknowledged: [u64; 2],
    ) -> Vec<String> {
        fs::write(lottery.case.volume.bets(), rows).unwrap();
        let of = |agency: u32| acknowledged[agency as usize - 1];
        check_remains(&lottery.case, &lottery.other_volume(), of).unwrap();
        lottery.found()
    }

    #[test]
    fn remains_may_be_torn_at_their_end_and_wrong_nowhere() {
        let mut lottery = CorrectLottery::new();
        let rows = lottery.rows();
        let (all, torn) = (rows.concat(), rows.concat().trim_end().to_owned());
        for (remains, acknowledged) in
            [(&all, [4, 1]), (&torn, [3, 1]), (&rows[0], [1, 0]), (&String::new(), [0, 0])]
        {
            assert_eq!(found_in_remains(&mut lottery, remains, acknowledged), [""; 0], "{remains}");
        }
        assert!(
            found_in_remains(&mut lottery, &torn, [4, 1])[0].contains("agency 1 has 3 rows, and 4")
        );
        assert!(
            found_in_remains(&mut lottery, &rows[0], [1, 1])[0].contains("agency 2 has 0 rows")
        );
        for (wanted, wrong) in WRONG_ROWS.iter().filter(|(wanted, _)| !wanted.contains("torn")) {
            let mut rows = lottery.rows();
            wrong(&mut rows);
            let found = found_in_remains(&mut lottery, &rows.concat(), [4, 1]);
            let wanted = if wanted.contains("not stored") { "agency 1 has 3 rows" } else { wanted };
            assert_found(&found, wanted);
        }
        fs::remove_file(lottery.case.volume.bets()).unwrap();
        check_remains(&lottery.case, &lottery.other_volume(), |_| 1).unwrap();
        assert_eq!(lottery.found().len(), 2);
    }
}
