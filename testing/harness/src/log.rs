//! What a child process logs, line by line, as an event source.
//!
//! A log is a file that grows. It is read every 2 ms while something waits for a line.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How long between two looks at a log.
const READ_PAUSE: Duration = Duration::from_millis(2);

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
        // Date, time and level are 29 bytes; a line that is no log line has its fields at its start.
        let fields = self.0.find("action: ").and_then(|at| self.0.get(at..)).unwrap_or(self.0);
        fields.split(" | ").find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Whether the line is about `action` with `result`.
    #[must_use]
    pub fn is(self, action: &str, result: &str) -> bool {
        self.field("action") == Some(action) && self.field("result") == Some(result)
    }

    /// Whether a person should look at it: WARNING, ERROR, CRITICAL, or a panic.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        matches!(self.level(), "WARNING" | "ERROR" | "CRITICAL") || self.0.contains("panicked at")
    }
}

/// The log of one process: its file from where the process started.
#[derive(Debug, Clone)]
pub struct ProcessLog {
    path: PathBuf,
    start: u64,
    process: Arc<OwnedFd>,
    copying: Option<AbortHandle>,
}

impl ProcessLog {
    /// The log in the file `path` from byte `start` on. `process` writes it, or `copying` does,
    /// which ends after the process.
    #[must_use]
    pub fn new(path: PathBuf, start: u64, process: OwnedFd, copying: Option<AbortHandle>) -> Self {
        Self { path, start, process: Arc::new(process), copying }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there are; a place to look on from.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len().saturating_sub(self.start))
    }

    /// Waits for the first line from `place` on that is `wanted`; `None` if the log ends without.
    pub async fn wait_from(
        &self,
        place: u64,
        wanted: impl Fn(LogLine<'_>) -> bool,
    ) -> Option<String> {
        let mut file = self.open(place).ok()?;
        let mut line = Vec::new();
        loop {
            // Asked before the file is read: then all that was logged is there.
            let has_ended = self.has_ended();
            while let Ok(1..) = file.read_until(b'\n', &mut line) {
                if line.last() != Some(&b'\n') && !has_ended {
                    break;
                }
                let text = String::from_utf8_lossy(&line);
                if wanted(LogLine(text.trim_end())) {
                    return Some(text.trim_end().to_owned());
                }
                line.clear();
            }
            if has_ended {
                return None;
            }
            sleep(READ_PAUSE).await;
        }
    }

    /// As [`ProcessLog::wait_from`], from the log's start.
    pub async fn wait_for(&self, wanted: impl Fn(LogLine<'_>) -> bool) -> Option<String> {
        self.wait_from(0, wanted).await
    }

    /// How many of its lines are `wanted`.
    #[must_use]
    pub fn matching(&self, wanted: impl Fn(LogLine<'_>) -> bool) -> usize {
        self.text().lines().filter(|line| wanted(LogLine(line))).count()
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<String> {
        let text = self.text();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let forgotten = lines.len().saturating_sub(count);
        lines.into_iter().skip(forgotten).collect()
    }

    /// The lines at which a person should look, see [`LogLine::is_alarm`].
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter(|line| LogLine(line).is_alarm()).map(str::to_owned).collect()
    }

    /// How many bets it is about: one for each success of the action `single`, and as many as its
    /// `cantidad` says for each of the action `batch`.
    #[must_use]
    pub fn bets(&self, single: &str, batch: &str) -> u64 {
        let bets = |line| match LogLine(line) {
            line if line.is(single, "success") => 1,
            line if line.is(batch, "success") => {
                line.field("cantidad").and_then(|count| count.parse().ok()).unwrap_or(0)
            }
            _ => 0,
        };
        self.text().lines().map(bets).sum()
    }

    /// Whether nothing more can be logged.
    fn has_ended(&self) -> bool {
        // The process stays to be waited for; an error says that its end was waited for already.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let is_running = matches!(waitid(WaitId::PidFd(self.process.as_fd()), options), Ok(None));
        !is_running && self.copying.as_ref().is_none_or(AbortHandle::is_finished)
    }

    fn open(&self, place: u64) -> io::Result<BufReader<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start + place))?;
        Ok(BufReader::new(file))
    }

    /// All of it; empty if the file cannot be read.
    fn text(&self) -> String {
        let mut bytes = Vec::new();
        let _ = self.open(0).and_then(|mut file| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTEN: &str =
        "2026-01-31 10:00:00 INFO     action: listen | result: success | address: 127.0.0.1:7";

    #[test]
    fn a_line_has_a_level_and_fields() {
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
}
