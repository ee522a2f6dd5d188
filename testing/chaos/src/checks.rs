//! Whether every promise was kept: from the files, the servers' answers, and what all wrote.
//!
//! More is checked while it happens: answers by `answer_checker`, the draw by `draw_watch`, and the
//! ends after SIGTERM by the members. What must be stored and drawn is stated by `oracle`.

use std::fs;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use crate::environment::{Announcement, Environment, Locked, Lottery, Member, WINNER};
use crate::report::Report;
use harness::bets_dir::BetsDirectory;
use harness::directory;
use harness::log::LogLine;
use harness::raw_connection::RawConnection;
use harness::volume::Volume;
use oracle::audit::{self, AgencyAudit, Announced, Audit, Expected, Problem};

/// What a full disk is counted as.
pub const DISK_FULL: &str = "disk full";

/// How long a client may take to learn of a draw that has been held.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks everything when all agencies have ended, and ends the servers; returns how many bets are
/// stored.
///
/// # Errors
/// Something could not be looked at.
pub async fn check_all<E: Environment>(
    environment: &E,
    mut announced: Vec<Announcement>,
) -> anyhow::Result<u64> {
    let lottery = environment.lottery();
    let report = &lottery.report;
    let bets_before = fs::read(lottery.volume.bets()).context("read bets.csv")?;
    let mut servers = lottery.lock_all(&lottery.all_servers()).await?;
    // A server that is started again must answer the same.
    if let Some(server) = servers.first_mut() {
        server.kill().await?;
        server.start().await?;
    }
    for server in &servers {
        let name = server.name();
        let asked = async {
            ask(lottery, server.address().await?, &["WinnersRequest", "AgencyStatus"]).await
        };
        let asked = asked.await.with_context(|| format!("{name}, asked at the end"));
        report.value_of(asked);
    }
    announced.extend(run_again(lottery).await?);
    for server in &mut servers {
        server.stop().await?;
    }
    drop(servers);
    check_unchanged(&lottery.volume, &bets_before, report)?;
    lottery.draw.lock().unwrap_or_else(PoisonError::into_inner).look();
    let was_full = report.recorded().faults.contains_key(DISK_FULL);
    for (name, log) in environment.server_logs().await? {
        check_log(&lottery.volume, &name, &log, was_full, report)?;
    }
    let (bets, volume, report) =
        (lottery.bets.clone(), lottery.volume.clone(), lottery.report.clone());
    let counting =
        tokio::task::spawn_blocking(move || check_files(&bets, &volume, &announced, &report));
    counting.await.context("count")?
}

/// When all agencies have their winners, no bet is stored any more.
fn check_unchanged(volume: &Volume, bets_before: &[u8], report: &Report) -> anyhow::Result<()> {
    if fs::read(volume.bets()).context("read bets.csv")? != bets_before {
        report.violation("bets.csv changed after all agencies had their winners");
    }
    Ok(())
}

/// Runs a client once more: nothing is stored, and the winners are the same.
async fn run_again<M: Member>(lottery: &Lottery<M>) -> anyhow::Result<Option<Announcement>> {
    let client = lottery.clients().into_iter().next().context("find a client")?;
    let mut client: Locked<M> = client.lock_owned().await;
    client.start().await?;
    let ended = timeout(AGAIN_TIMEOUT, client.until_end()).await;
    let code = client.exit_code().await?;
    if ended.is_err() || code != Some(0) {
        let what = format!("run once more, has the exit code {code:?}");
        lottery.report.violation(client.failure(&what).await);
        client.kill().await?;
        return Ok(None);
    }
    client.announcement().await
}

/// Sends these packets about every agency to the server at `address`, and checks the answers. Winners
/// are only sent when the draw was held; what comes after them must say that it was.
///
/// # Errors
/// It does not answer.
pub async fn ask<M: Member>(
    lottery: &Lottery<M>,
    address: SocketAddr,
    packets: &[&str],
) -> anyhow::Result<()> {
    let mut connection = RawConnection::open(address).await?;
    for agency in 1..=lottery.bets.agencies() {
        for packet in packets {
            let packet = format!("{packet}:{agency}");
            let asked = lottery.checker.asked(0, packet.as_bytes());
            let answer = connection.ask(&packet).await?;
            lottery.checker.answered(&asked, answer.as_bytes());
            anyhow::ensure!(!answer.starts_with("Error"), "{packet} got {answer:?}");
        }
    }
    Ok(())
}

/// A server's log has the one draw that is on record, however often it started, and no alarm that the
/// faults do not explain.
fn check_log(
    volume: &Volume,
    name: &str,
    log: &[String],
    was_full: bool,
    report: &Report,
) -> anyhow::Result<()> {
    let time = audit::time_of_draw(volume)?;
    for line in audit::other_draws(log.iter().map(String::as_str), &time) {
        report.violation(format!("{name} logged another draw than {time}: {line}"));
    }
    let alarms: Vec<&str> =
        log.iter().map(String::as_str).filter(|line| LogLine(line).is_alarm()).collect();
    for wrong in wrong_alarms(&alarms, was_full) {
        report.violation(format!("{name}: {wrong}"));
    }
    Ok(())
}

/// The alarms of a server that no fault explains, and what is missing: a full disk must be logged as
/// an ERROR, and no other fault may be.
fn wrong_alarms(alarms: &[&str], was_full: bool) -> Vec<String> {
    let is_full = |line: &str| line.contains("No space left on device");
    let is_warning = |line: &str| LogLine(line).level() == "WARNING";
    let is_error_of_disk = |line: &str| is_full(line) && LogLine(line).is("store", "fail");
    let is_explained = |line: &str| match was_full {
        true => is_warning(line) || is_error_of_disk(line),
        false => is_warning(line) && !is_full(line),
    };
    let all = alarms.iter().copied();
    let mut wrong: Vec<_> =
        all.clone().filter(|line| !is_explained(line)).map(str::to_owned).collect();
    let is_answered = all.clone().any(|line| is_full(line) && is_warning(line));
    if is_answered && !all.clone().any(is_error_of_disk) {
        wrong.push("a full disk was answered, and no ERROR says what to do".to_owned());
    }
    wrong
}

/// Compares the files and the announcements with what had to come out; returns how many bets are
/// stored.
fn check_files(
    bets: &BetsDirectory,
    volume: &Volume,
    announcements: &[Announcement],
    report: &Report,
) -> anyhow::Result<u64> {
    let mut audit =
        Audit::of_draw(&Expected { bets, volume, winner_number: WINNER }).context("count")?;
    for Announcement { agency, places } in announcements {
        for &(place, ref documents) in places {
            audit.check_announced(&Announced { agency: *agency, place, documents });
        }
    }
    for problem in &audit.problems {
        report.violation(problem.to_string());
    }
    // Our servers write a repeated close once.
    let closes = fs::read_to_string(volume.agencies_closed()).unwrap_or_default();
    if closes.lines().count() > bets.agencies() as usize {
        report.violation("a close stands twice in agencies_closed.txt");
    }
    let has_ended = |agency: &u32| announcements.iter().any(|ended| ended.agency == *agency);
    for agency in (1..=bets.agencies()).filter(|agency| !has_ended(agency)) {
        report.violation(format!("agency {agency}: no client of it ended with its winners"));
    }
    Ok(audit.agencies.iter().map(|agency| agency.stored).sum())
}

/// Killed servers leave whole rows in their order, except for a torn end, and every row that was
/// acknowledged.
///
/// # Errors
/// A file could not be read or copied.
pub fn check_remains<M: Member>(lottery: &Lottery<M>) -> anyhow::Result<()> {
    let copy = Volume::new(&directory::make(&lottery.directory.join("remains"))?);
    let acknowledged = |agency| lottery.checker.acknowledged(agency as usize);
    check_rows(&lottery.bets, (&lottery.volume, &copy), acknowledged, &lottery.report)
}

/// As [`check_remains`]; the whole lines are copied to `copy`.
fn check_rows(
    bets: &BetsDirectory,
    (volume, copy): (&Volume, &Volume),
    acknowledged: impl Fn(u32) -> u64,
    report: &Report,
) -> anyhow::Result<()> {
    let when = "after all servers were killed";
    let bytes = fs::read(volume.bets()).unwrap_or_default();
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    fs::write(copy.bets(), bytes.get(..end).unwrap_or_default()).context("copy bets.csv")?;
    let audit = Audit::of_rows(&Expected { bets, volume: copy, winner_number: WINNER })?;
    for problem in audit.problems {
        if !matches!(problem, Problem::Missing { .. }) {
            report.violation(format!("{when}: {problem}"));
        }
    }
    for AgencyAudit { agency, stored, .. } in audit.agencies {
        let acknowledged = acknowledged(agency);
        if stored < acknowledged {
            report.violation(format!(
                "{when}: agency {agency} has {stored} rows, and {acknowledged} were acknowledged"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oracle::expected::{AgencyExpected, expect};
    use tempfile::TempDir;

    /// When the draw was held.
    const TIME: &str = "2026-01-31T10:00:00Z";

    const ROWS: [&str; 3] = [
        "1,Ana,Paz,11,2000-01-01,7574\n",
        "2,Luz,Mar,21,2000-01-05,7574\n",
        "1,Eva,Sol,12,2000-01-02,1\n",
    ];

    /// A lottery of two agencies that went right, for tests to break. What `oracle` finds in files
    /// is tested there.
    struct CorrectLottery {
        bets: BetsDirectory,
        volume: Volume,
        report: Report,
        directory: TempDir,
    }

    impl CorrectLottery {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (agency, start) in [(1, "1,"), (2, "2,")] {
                let rows: String = ROWS.iter().filter_map(|row| row.strip_prefix(start)).collect();
                fs::write(directory.path().join(format!("agency-{agency}.csv")), rows).unwrap();
            }
            let bets = BetsDirectory::given(directory.path(), 2).unwrap();
            let volume = Volume::new(&directory::make(&bets.path().join("volume")).unwrap());
            let expected = expect(&bets, WINNER).unwrap();
            let drawn = |(agency, expected): (u32, &AgencyExpected)| {
                let (rows, digest, winners) =
                    (expected.rows(), expected.digest(), [&expected.winners]);
                serde_json::json!({
                    "agency": agency, "rows": rows, "digest": digest, "winners": winners,
                })
            };
            let agencies: Vec<_> = (1..).zip(&expected).map(drawn).collect();
            let record = serde_json::json!({
                "winning_number": WINNER, "agencies_amount": 2, "bets": 3, "agencies": agencies,
                "time": TIME, "instance": "127.0.0.1:12345",
            });
            fs::write(volume.draw(), record.to_string()).unwrap();
            fs::write(volume.bets(), ROWS.concat()).unwrap();
            fs::write(volume.agencies_closed(), "1\n2\n").unwrap();
            Self { bets, volume, report: Report::default(), directory }
        }

        /// What is found must be `wanted`.
        fn check_files(&self, announced: &[Announcement], wanted: &str) {
            check_files(&self.bets, &self.volume, announced, &self.report).unwrap();
            self.report.assert_found(wanted);
        }
    }

    fn announced(agency: u32, printed: &[&str], filed: &[&str]) -> Announcement {
        let list = |all: &[&str]| all.iter().copied().map(str::to_owned).collect();
        Announcement {
            agency,
            places: vec![("standard output", list(printed)), ("file", list(filed))],
        }
    }

    #[test]
    fn wrong_files_and_announcements_are_found() {
        let lottery = CorrectLottery::new();
        let right = [announced(1, &["11"], &["11"]), announced(2, &["21"], &["21"])];
        lottery.check_files(&right, "");
        for (first, wanted) in [
            (announced(1, &["12"], &["11"]), "its winners on standard output are [12]"),
            (announced(1, &["11"], &[]), "its winners on file are []"),
            (announced(2, &["21"], &["21"]), "agency 1: no client of it ended"),
        ] {
            lottery.check_files(&[first, right[1].clone()], wanted);
        }
        fs::write(lottery.volume.agencies_closed(), "1\n2\n1\n").unwrap();
        lottery.check_files(&right, "a close stands twice");
        fs::write(lottery.volume.agencies_closed(), "2\n1\n").unwrap();
        fs::write(lottery.volume.bets(), ROWS[..2].concat()).unwrap();
        lottery.check_files(&right, "agency 1: 1 rows are not stored, from row 2 on");
    }

    #[test]
    fn rows_that_come_after_the_winners_are_found() {
        let CorrectLottery { volume, report, directory: _directory, .. } = CorrectLottery::new();
        let before = fs::read(volume.bets()).unwrap();
        for (rows, wanted) in [(ROWS.concat(), ""), (ROWS.concat() + ROWS[0], "bets.csv changed")] {
            fs::write(volume.bets(), rows).unwrap();
            check_unchanged(&volume, &before, &report).unwrap();
            report.assert_found(wanted);
        }
    }

    #[test]
    fn remains_may_be_torn_at_their_end_and_wrong_nowhere() {
        let lottery = CorrectLottery::new();
        let other = Volume::new(&directory::make(&lottery.directory.path().join("copy")).unwrap());
        let [first, second, third] = ROWS;
        let torn = format!("{first}{second}{}", third.trim_end());
        for (rows, acknowledged, wanted) in [
            (ROWS.concat(), [2, 1], ""),
            (torn.clone(), [1, 1], ""),
            (String::new(), [0, 0], ""),
            (torn, [2, 1], "agency 1 has 1 rows, and 2 were acknowledged"),
            (first.to_owned(), [1, 1], "agency 2 has 0 rows, and 1 were acknowledged"),
            (format!("{third}{first}"), [0, 0], "2 stored rows differ from its file"),
            (ROWS.concat() + second, [2, 1], "agency 2: 1 rows are stored beyond the end"),
        ] {
            fs::write(lottery.volume.bets(), rows).unwrap();
            let of = |agency: u32| acknowledged[agency as usize - 1];
            check_rows(&lottery.bets, (&lottery.volume, &other), of, &lottery.report).unwrap();
            lottery.report.assert_found(wanted);
        }
    }

    #[test]
    fn a_log_of_another_draw_and_alarms_that_no_fault_explains_are_found() {
        let lottery = CorrectLottery::new();
        let drawn = |time: &str| {
            format!("2026-01-31 10:00:01 INFO     action: draw | result: success | time: {time}")
        };
        let line = |level: &str, action: &str, error: &str| {
            let fail = "| result: fail | error: append to bets.csv:";
            format!("2026-01-31 10:00:00 {level:<8} action: {action} {fail} {error}")
        };
        let full = "No space left on device (os error 28)";
        let logged = line("ERROR", "store", full);
        let batch = line("WARNING", "apuestas_almacenadas", full);
        let torn = line("WARNING", "mend_log", "cut off");
        let readonly = line("ERROR", "store", "Read-only file system (os error 30)");
        let damaged = line("ERROR", "read_log", full);
        let panic = "thread 'main' panicked at src/main.rs:1:1:".to_owned();
        let (right, other) = (drawn(TIME), drawn("2026-01-31T10:00:09Z"));
        for (log, was_full, count) in [
            (vec![], false, 0),
            (vec![&right, &torn, &right], false, 0),
            (vec![&right, &other], false, 1),
            (vec![&logged, &batch, &torn], true, 0),
            (vec![&logged], false, 1),
            (vec![&batch, &logged], false, 2),
            (vec![&batch], true, 1),
            (vec![&logged, &readonly], true, 1),
            (vec![&damaged], true, 1),
            (vec![&panic], false, 1),
        ] {
            let log: Vec<String> = log.into_iter().cloned().collect();
            check_log(&lottery.volume, "server-1", &log, was_full, &lottery.report).unwrap();
            let found = lottery.report.take_violations();
            assert_eq!(found.len(), count, "{log:?} {was_full}: {found:?}");
        }
        fs::remove_file(lottery.volume.draw()).unwrap();
        assert!(check_log(&lottery.volume, "server-1", &[], false, &lottery.report).is_err());
    }
}
