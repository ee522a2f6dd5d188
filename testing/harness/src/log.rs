//! What a child process logs, line by line, as an event source.
//!
//! Whoever waits for a line waits for the line, never for a time. Only the last
//! 2,000 lines are held in memory; all of them are in the log's file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

/// How many lines of a log are held in memory.
const LINES_KEPT: usize = 2_000;

/// How many alarming lines of each level are held in memory.
const ALARMS_KEPT: usize = 100;

/// One line of a log in the reference's form:
/// `2026-01-31 10:00:00 INFO     action: sorteo | result: success`.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'l>(pub &'l str);

impl<'l> LogLine<'l> {
    /// The line's level, `INFO` for example; empty if the line has none.
    #[must_use]
    pub fn level(self) -> &'l str {
        self.0.split_ascii_whitespace().nth(2).unwrap_or_default()
    }

    /// The value of the field `name`.
    #[must_use]
    pub fn field(self, name: &str) -> Option<&'l str> {
        self.fields().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Whether the line tells of `action` with `result`.
    #[must_use]
    pub fn is(self, action: &str, result: &str) -> bool {
        self.field("action") == Some(action) && self.field("result") == Some(result)
    }

    /// Whether a person should look at it: WARNING, ERROR, CRITICAL, or a panic.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        matches!(self.level(), "WARNING" | "ERROR" | "CRITICAL") || self.0.contains("panicked at")
    }

    /// Date, time and level are 29 bytes; a line that is no log line has its fields at its start.
    fn fields(self) -> impl Iterator<Item = &'l str> {
        self.0.find("action: ").and_then(|at| self.0.get(at..)).unwrap_or(self.0).split(" | ")
    }
}

/// The lines so far.
#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    forgotten: usize,
    alarms: Vec<String>,
}

impl Lines {
    fn push(&mut self, line: String) {
        if LogLine(&line).is_alarm() {
            let kind = LogLine(&line).level();
            let alike = self.alarms.iter().filter(|kept| LogLine(kept).level() == kind);
            if alike.count() < ALARMS_KEPT {
                self.alarms.push(line.clone());
            }
        }
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(line);
    }

    fn count(&self) -> usize {
        self.forgotten + self.kept.len()
    }

    fn from(&self, place: usize) -> impl Iterator<Item = &String> {
        self.kept.iter().skip(place.saturating_sub(self.forgotten))
    }
}

/// The log of one process.
#[derive(Debug, Clone)]
pub struct Log(watch::Receiver<Lines>);

impl Log {
    /// A log of what `stream` gives, copied to `file`. Returns the log, and what must run until
    /// the stream's end.
    pub fn of(stream: impl AsyncRead + Unpin, file: File) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = watch::channel(Lines::default());
        (Self(receiver), copy(stream, file, sender))
    }

    /// How many lines there are; a place to look on from.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().count()
    }

    /// Waits for the first line from `place` on that is `wanted`; `None` if the log ends without.
    pub async fn wait_from(
        &self,
        place: usize,
        wanted: impl Fn(LogLine<'_>) -> bool,
    ) -> Option<String> {
        let mut next = place;
        let mut found = None;
        let mut lines = self.0.clone();
        let seen = lines.wait_for(|lines| {
            found = lines.from(next).find(|line| wanted(LogLine(line))).cloned();
            next = lines.count();
            found.is_some()
        });
        drop(seen.await);
        found
    }

    /// As [`Log::wait_from`], from the log's start.
    pub async fn wait_for(&self, wanted: impl Fn(LogLine<'_>) -> bool) -> Option<String> {
        self.wait_from(0, wanted).await
    }

    /// How many of the lines in memory are `wanted`.
    #[must_use]
    pub fn matching(&self, wanted: impl Fn(LogLine<'_>) -> bool) -> usize {
        self.0.borrow().kept.iter().filter(|line| wanted(LogLine(line))).count()
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.0.borrow();
        lines.kept.iter().skip(lines.kept.len().saturating_sub(count)).cloned().collect()
    }

    /// The lines at which a person should look, see [`LogLine::is_alarm`].
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.0.borrow().alarms.clone()
    }
}

/// How many bets the log file at `path` tells of: one for each success of the action `single`,
/// and as many as its `cantidad` says for each of the action `batch`.
///
/// # Errors
/// The file cannot be read.
pub fn count_bets(path: &Path, single: &str, batch: &str) -> io::Result<u64> {
    let mut bets = 0;
    for line in io::BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        let line = LogLine(str::from_utf8(&line).unwrap_or_default());
        if line.is(batch, "success") {
            bets += line.field("cantidad").and_then(|count| count.parse().ok()).unwrap_or(0);
        } else if line.is(single, "success") {
            bets += 1;
        }
    }
    Ok(bets)
}

/// A log that cannot be written to its file is still read: a full pipe would stop the process.
async fn copy(stream: impl AsyncRead + Unpin, mut file: File, lines: watch::Sender<Lines>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut line).await {
        let _ = file.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        lines.send_modify(|lines| lines.push(text));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str =
        "2026-01-31 10:00:00 INFO     action: listen | result: success | address: 127.0.0.1:7";

    #[test]
    fn a_line_tells_its_level_and_fields() {
        let line = LogLine(LISTEN);
        assert_eq!(line.level(), "INFO");
        assert_eq!(line.field("address"), Some("127.0.0.1:7"));
        assert_eq!(line.field("port"), None);
        assert!(line.is("listen", "success") && !line.is("listen", "fail") && !line.is_alarm());
        for alarm in [
            "2026-01-31 10:00:00 WARNING  action: x | result: fail",
            "2026-01-31 10:00:00 CRITICAL action: x | result: fail",
            "thread 'main' panicked at src/main.rs:1:1:",
        ] {
            assert!(LogLine(alarm).is_alarm(), "{alarm}");
        }
    }

    #[tokio::test]
    async fn whoever_waits_sees_earlier_and_later_lines_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = || File::create(directory.path().join("log")).unwrap();
        let text = format!("{LISTEN}\nsecond\nthird");
        let (log, copying) = Log::of(text.as_bytes(), file());
        let (found, ()) = tokio::join!(log.wait_for(|line| line.0 == "third"), copying);
        assert_eq!(found.as_deref(), Some("third"));
        assert_eq!(log.wait_for(|line| line.0 == "second").await.as_deref(), Some("second"));
        assert_eq!(log.wait_from(2, |line| line.0 == "second").await, None);
        assert_eq!(log.tail(2), ["second", "third"]);
        assert_eq!(std::fs::read_to_string(directory.path().join("log")).unwrap(), text);
    }

    #[tokio::test]
    async fn old_lines_are_forgotten_and_new_ones_are_still_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("log")).unwrap();
        let text: String = (0..LINES_KEPT + 10).map(|place| format!("line {place}\n")).collect();
        let (log, copying) = Log::of(text.as_bytes(), file);
        copying.await;
        assert_eq!(log.count(), LINES_KEPT + 10);
        assert_eq!(log.wait_for(|line| line.0 == "line 9").await, None);
        assert!(log.wait_from(LINES_KEPT, |line| line.0 == "line 2003").await.is_some());
    }
}
