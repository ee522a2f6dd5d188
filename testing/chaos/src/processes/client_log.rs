//! What the log of a client may say when it has ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::report::Report;
use harness::client_process::ClientProcess;
use harness::log::LogLine;
use harness::process::ChildProcess;
use harness::volume::Volume;

/// Its log has no ERROR, because whatever goes wrong here passes; and what it says was stored is in
/// the file now.
pub fn check(client: &ClientProcess, volume: &Volume, report: &Report) {
    let (name, text) = (client.process().name(), text_of(client.process()));
    for line in errors_in(&text) {
        report.violation(format!("{name}: {line}"));
    }
    let bets = std::fs::read(volume.bets()).unwrap_or_default();
    if let Err(wrong) = check_acknowledged(client.agency(), &text, client.bets_sent(), &bets) {
        report.violation(format!("{name}: {wrong}"));
    }
}
/// Whether `bets`, what the file has now, has all rows of `agency` that a client with this log
/// found stored, or sent and had acknowledged: so many are `sent`.
fn check_acknowledged(agency: u32, log: &str, sent: u64, bets: &[u8]) -> Result<(), String> {
    let resumed = log.lines().map(LogLine).find(|line| line.is("resume", "success"));
    let before = resumed.and_then(|line| line.field("stored")?.parse::<u64>().ok());
    let acknowledged = before.unwrap_or(0) + sent;
    let start = format!("{agency},");
    let is_row = |line: &&[u8]| line.starts_with(start.as_bytes()) && line.ends_with(b"\n");
    let stored = bets.split_inclusive(|byte| *byte == b'\n').filter(is_row).count() as u64;
    if stored < acknowledged {
        return Err(format!("{acknowledged} rows were acknowledged, and {stored} are in bets.csv"));
    }
    Ok(())
}

/// All of a log.
pub fn text_of(child: &ChildProcess) -> String {
    std::fs::read_to_string(child.log_path()).unwrap_or_default()
}

/// How a client may end that was sent SIGTERM, by its log since it started: in order, or by the
/// signal itself as long as it has logged nothing but its settings, which it does before it
/// listens for signals. `None` is a client that did not end in
/// time.
pub fn check_stop(status: Option<ExitStatus>, log: &str) -> Result<(), String> {
    let status = status.ok_or("SIGTERM did not end it in time")?;
    let is_starting = log.lines().all(|line| LogLine(line).field("action") == Some("config"));
    let is_early = is_starting && status.signal() == Some(Signal::TERM.as_raw());
    if status.success() || is_early { Ok(()) } else { Err(format!("SIGTERM ended it: {status}")) }
}

/// The lines at which a person must look; warnings are about what passes.
fn errors_in(log: &str) -> impl Iterator<Item = &str> {
    let is_wrong = |line: &&str| LogLine(line).is_alarm() && LogLine(line).level() != "WARNING";
    log.lines().filter(is_wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "2026-01-31 10:00:00 INFO     action: config | result: success";
    const READ: &str = "2026-01-31 10:00:00 INFO     action: bets_read | result: success";
    const RESUMED: &str = "2026-01-31 10:00:00 INFO     action: resume | result: success";

    #[test]
    fn sigterm_ends_a_client_in_order_or_before_it_listens_for_signals() {
        // As the system has them: the exit code in the second byte, the signal in the first.
        let [right, failed, by_term, by_segv] = [0, 1 << 8, 15, 11].map(ExitStatus::from_raw);
        for (status, log, is_right) in [
            (Some(right), RESUMED, true),
            (Some(by_term), "", true),
            (Some(by_term), CONFIG, true),
            (Some(by_term), READ, false),
            (Some(by_term), RESUMED, false),
            (Some(failed), "", false),
            (Some(failed), RESUMED, false),
            (Some(by_segv), "", false),
            (None, "", false),
        ] {
            assert_eq!(check_stop(status, log).is_ok(), is_right, "{status:?} {log}");
        }
    }

    #[test]
    fn errors_of_clients_are_found_and_warnings_are_not() {
        let panic = "thread 'main' panicked at src/main.rs:1:1:";
        let of = |level: &str| format!("2026-01-31 10:00:00 {level:<8} action: x | result: fail");
        let (error, critical) = (of("ERROR"), of("CRITICAL"));
        let log = [RESUMED, &of("WARNING"), &error, &critical, panic].join("\n");
        let found: Vec<&str> = errors_in(&log).collect();
        assert_eq!(found, [error.as_str(), critical.as_str(), panic]);
    }

    #[test]
    fn acknowledged_rows_that_are_not_in_the_file_are_found() {
        let resumed = format!("{RESUMED} | stored: 2 | to_send: 9");
        for (log, sent, bets, is_right) in [
            ("", 0, "", true),
            ("", 1, "", false),
            ("", 2, "1,a\n2,b\n1,c\n", true),
            ("", 2, "1,a\n2,b\n2,c\n", false),
            ("", 2, "1,a\n1,b", false),
            (&resumed, 0, "1,a\n1,b\n", true),
            (&resumed, 1, "1,a\n1,b\n", false),
            (&resumed, 0, "1,a\n11,b\n", false),
        ] {
            let checked = check_acknowledged(1, log, sent, bets.as_bytes());
            assert_eq!(checked.is_ok(), is_right, "{log} {sent} {bets}: {checked:?}");
        }
    }
}
