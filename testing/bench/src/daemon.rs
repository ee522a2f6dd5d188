//! A process that is measured, of any system: started, found listening, ended.
//!
//! Its log goes straight to a file, as with an operator: whoever read it through a pipe, as
//! `process` does for tests, would take as much of the processor as the load.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use harness::log::LogLine;
use harness::process::{Launch, PARENT};
use harness::processes;

/// How long a process may take until it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// How long a process may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long between two looks at a log; what it tells of may be so much older.
const LOG_PAUSE: Duration = Duration::from_millis(2);

/// How many bytes of a log a failure shows.
const LOG_BYTES_SHOWN: usize = 2_000;

/// A running process, killed when this is dropped.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    reader: LineReader,
}

/// The whole lines of a file that grows.
struct LineReader {
    file: BufReader<File>,
    line: String,
}

impl LineReader {
    /// The next line, without its end; `None` as long as it is not whole.
    fn next(&mut self) -> std::io::Result<Option<String>> {
        self.file.read_line(&mut self.line)?;
        let is_whole = self.line.ends_with('\n');
        Ok(is_whole.then(|| std::mem::take(&mut self.line).trim_end().to_owned()))
    }
}

impl Daemon {
    /// Starts `command` as `name`, with its output in `name.log` of `directory`.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(name: &str, mut command: Command, directory: &Path) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let copy = file.try_clone().context("share a log")?;
        command.current_dir(directory).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(copy).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let file = BufReader::new(File::open(&log).context("open a log")?);
        let reader = LineReader { file, line: String::new() };
        Ok(Self { name: name.to_owned(), child, log, reader })
    }

    /// Starts one of this project's programs.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch(name: &str, launch: &Launch, directory: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(&launch.binary);
        command.args(&launch.arguments).env_clear().envs(&launch.settings);
        command.env(PARENT, std::process::id().to_string());
        Self::spawn(name, command, directory)
    }

    /// Waits until it listens at `address`.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub async fn listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let until = Instant::now() + LISTEN_TIMEOUT;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = self.child.try_wait().context("look at a process")? {
                bail!(self.failure(&format!("ended before it listened, with {status}")));
            }
            if Instant::now() > until {
                bail!(self.failure("does not listen"));
            }
            sleep(CONNECT_PAUSE).await;
        }
        Ok(())
    }

    /// The process's id.
    ///
    /// # Errors
    /// Its end was waited for.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().ok_or_else(|| anyhow!("{} has ended", self.name))
    }

    /// Its processor time so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        processes::processor_time(self.id()?)
    }

    /// The most memory that it ever had resident, in MiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        processes::memory_high_mib(self.id()?)
    }

    /// Waits until a line of its log is `wanted`. The log is read on from where it was read to,
    /// and only so often: who reads it takes little of what is measured.
    ///
    /// # Errors
    /// It ends before, or there is no such line within `limit`.
    pub async fn logs(
        &mut self,
        limit: Duration,
        wanted: impl Fn(LogLine<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        loop {
            // Looked at before the log: what an ended process logged is all there.
            let ended = self.child.try_wait().context("look at a process")?;
            while let Some(line) = self.reader.next().context("read a log")? {
                if wanted(LogLine(&line)) {
                    return Ok(());
                }
            }
            if let Some(status) = ended {
                bail!(self.failure(&format!("ended without logging it, with {status}")));
            }
            if Instant::now() > until {
                bail!(self.failure("does not log it"));
            }
            sleep(LOG_PAUSE).await;
        }
    }

    /// Ends it with `signal`.
    ///
    /// # Errors
    /// It does not end in time, or ended by itself, or its exit code is not 0.
    pub async fn stop(self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.id()?.cast_signed()).context("a process without an id")?;
        kill_process(pid, signal).with_context(|| format!("end {}", self.name))?;
        self.end().await
    }

    /// Waits until it has ended by itself, or was asked to.
    ///
    /// # Errors
    /// It does not end in time, or its exit code is not 0.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let Ok(status) = timeout(STOP_TIMEOUT, self.child.wait()).await else {
            bail!(self.failure("does not end"));
        };
        let status = status.context("wait for a process")?;
        if status.success() { Ok(()) } else { bail!(self.failure(&format!("ended with {status}"))) }
    }

    /// What is wrong with it, and the end of its log.
    fn failure(&self, what: &str) -> anyhow::Error {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let end = log.get(log.len().saturating_sub(LOG_BYTES_SHOWN)..).unwrap_or_default();
        anyhow!("{} {what}; its log ends:\n{}", self.name, String::from_utf8_lossy(end))
    }
}

/// Somebody else than root, for servers that do not run as root.
pub struct User {
    name: String,
    id: u32,
    group: u32,
}

impl User {
    /// `None` if this process is not root's and the servers can be its own user's.
    ///
    /// # Errors
    /// There is no such user, or no way to run a program as that one; says what to do.
    pub fn for_servers() -> Result<Option<Self>, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut found = ["postgres", "nobody"].iter().filter_map(|name| Self::find(name, &users));
        match (found.next(), find("setpriv")) {
            (Some(user), Some(_)) => Ok(Some(user)),
            _ => Err("does not run as root: be another user".to_owned()),
        }
    }

    fn find(name: &str, users: &str) -> Option<Self> {
        let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = users.find(|fields| fields.first() == Some(&name))?;
        let number = |place: usize| user.get(place)?.parse().ok();
        Some(Self { name: name.to_owned(), id: number(2)?, group: number(3)? })
    }

    /// Makes `path` this user's.
    ///
    /// # Errors
    /// The system refused.
    pub fn give(&self, path: &Path) -> anyhow::Result<()> {
        let given = std::os::unix::fs::chown(path, Some(self.id), Some(self.group));
        given.with_context(|| format!("give {} to {}", path.display(), self.name))
    }
}

/// Another system's program, run as `user`, which ends with this one even if that is killed, where
/// the system has a way to say so.
#[must_use]
pub fn foreign(program: &Path, user: Option<&User>) -> Command {
    let Some(setpriv) = find("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    if let Some(User { id, group, .. }) = user {
        command.args([format!("--reuid={id}"), format!("--regid={group}")]).arg("--clear-groups");
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program);
    command
}

/// The file of an installed program.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// An address at `ip` where nobody listens.
///
/// # Errors
/// There is none.
pub fn free_address(ip: std::net::Ipv4Addr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_of_the_log_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'action: a | '; printf 'result: success\\naction: b\\n'"]);
        let mut daemon = Daemon::spawn("client", command, directory.path()).unwrap();
        let limit = LISTEN_TIMEOUT;
        daemon.logs(limit, |line| line.is("a", "success")).await.unwrap();
        let error = daemon.logs(limit, |line| line.is("a", "success")).await.unwrap_err();
        assert!(error.to_string().contains("without logging"), "{error}");
        daemon.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no disk; exit 3"]);
        let mut daemon = Daemon::spawn("store", command, directory.path()).unwrap();
        let address = free_address(std::net::Ipv4Addr::LOCALHOST).unwrap();
        let error = daemon.listens(address).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no disk"), "{error}");
        assert_eq!(find("no such program"), None);
    }
}
