//! A child process with its settings, its log and its end.
//!
//! Children get a cleared environment and a directory of their own, so that nothing of the
//! user's (`.env`, `config.ini`, variables) reaches them, and a process group of their own, so
//! that Ctrl-C reaches this process alone, which then stops them in order.
//!
//! **Invariant**: no child outlives this process: it is killed when its [`ChildProcess`] is
//! dropped, and by the system when this process is killed ([`die_with_parent`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::log::Log;

/// The variable that names the process with which a child has to end.
pub const PARENT: &str = "LOTERIA_PARENT";

/// How long the system may take to end a killed process.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How many lines of a log a diagnosis shows.
const TAIL_LINES: usize = 25;

/// How long an ended process's log may take to end, too.
const LOG_END_TIMEOUT: Duration = Duration::from_secs(5);

/// What to start: this very program in one of its roles, and its settings.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program, which is server and client, too.
    pub binary: PathBuf,
    /// Its arguments, the role first: `server`, `client generate`.
    pub arguments: Vec<String>,
    /// The whole environment of the process.
    pub settings: BTreeMap<String, String>,
}

impl Launch {
    /// `binary` in the role `arguments`, without any settings.
    #[must_use]
    pub fn new(binary: &Path, arguments: &[&str]) -> Self {
        Self {
            binary: binary.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            settings: BTreeMap::new(),
        }
    }

    /// With the setting `key` too, or in place of an earlier one.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// The command as a person types it in a shell.
    #[must_use]
    pub fn shell(&self) -> String {
        let mut line = "env -i".to_owned();
        for (key, value) in &self.settings {
            let _ = write!(line, " {key}='{value}'");
        }
        let _ = write!(line, " {}", self.binary.display());
        for argument in &self.arguments {
            let _ = write!(line, " {argument}");
        }
        line
    }
}

/// A running or ended child process.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    launch: Launch,
    directory: PathBuf,
    child: Child,
    log: Log,
    reading: Option<JoinHandle<()>>,
}

impl ChildProcess {
    /// Starts `launch` in `directory`; its log goes to `<name>.log` there, after what is in it,
    /// and its output to `<name>.out`.
    ///
    /// The child dies with the thread that calls this: call it from a thread that stays.
    ///
    /// # Errors
    /// A file could not be made or the program could not be started.
    pub fn spawn(name: &str, launch: &Launch, directory: &Path) -> anyhow::Result<Self> {
        let log_path = log_path(directory, name);
        let log_file = OpenOptions::new().create(true).append(true).open(&log_path);
        let log_file = log_file.with_context(|| format!("open {}", log_path.display()))?;
        let output = File::create(output_path(directory, name)).context("make output file")?;
        let mut child = Command::new(&launch.binary)
            .args(&launch.arguments)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(&launch.settings)
            .env(PARENT, std::process::id().to_string())
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", launch.shell()))?;
        let stderr = child.stderr.take().context("take the log of a process")?;
        let (log, reading) = Log::of(stderr, log_file);
        Ok(Self {
            name: name.to_owned(),
            launch: launch.clone(),
            directory: directory.to_owned(),
            child,
            log,
            reading: Some(tokio::spawn(reading)),
        })
    }

    /// What the process is called: `server-2`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that its log goes to, and that of its earlier starts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        log_path(&self.directory, &self.name)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The process's id; `None` once its end was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends `signal`; nothing if the process has ended.
    ///
    /// # Errors
    /// The system refused it.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // A process whose end was not waited for keeps its id: no other can get the signal.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        match pid.map(|pid| kill_process(pid, signal)) {
            Some(Err(error)) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits up to `limit` for the end of the process and of its log.
    ///
    /// # Errors
    /// It still runs.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let Ok(status) = timeout(limit, self.child.wait()).await else {
            return Err(self.failure(format!("it still runs after {} s", limit.as_secs())));
        };
        let status = status.context("wait for a process")?;
        if let Some(reading) = self.reading.take() {
            let _ = timeout(LOG_END_TIMEOUT, reading).await;
        }
        Ok(status)
    }

    /// Ends it with SIGKILL, and waits for that, [`KILL_TIMEOUT`] at the most.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL).context("kill a process")?;
        self.wait(KILL_TIMEOUT).await.map(drop)
    }

    /// What it wrote to standard output so far, line by line.
    ///
    /// # Errors
    /// The file of its output could not be read as text.
    pub fn output(&self) -> anyhow::Result<Vec<String>> {
        let path = output_path(&self.directory, &self.name);
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// An error that says `what` is wrong with this process, with its [diagnosis](Self::diagnosis).
    #[must_use]
    pub fn failure(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: {what}\n{}", self.name, self.diagnosis())
    }

    /// The command with its settings, and the end of the log.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        let mut text = format!("  command: {}\n", self.launch.shell());
        let _ = writeln!(text, "  directory: {}", self.directory.display());
        let _ = writeln!(text, "  end of {}.log:", self.name);
        for line in self.log.tail(TAIL_LINES) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }
}

impl Drop for ChildProcess {
    /// A test that fails shows what its processes were doing.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "{}:\n{}", self.name, self.diagnosis());
        }
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The lines of its standard output.
    pub output: Vec<String>,
    /// Its log.
    pub log: String,
}

/// Runs `launch` as `name` in `directory` to its end, which comes within `limit`.
///
/// # Errors
/// It does not start, or does not end in time.
pub async fn run(
    name: &str,
    launch: &Launch,
    directory: &Path,
    limit: Duration,
) -> anyhow::Result<Ended> {
    let mut process = ChildProcess::spawn(name, launch, directory)?;
    let status = process.wait(limit).await?;
    let log = process.log().tail(usize::MAX).join("\n");
    Ok(Ended { code: status.code(), output: process.output()?, log })
}

fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

fn output_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.out"))
}

/// Makes this process end with the one that started it as a child of the harness; a process that
/// was started otherwise goes on.
///
/// # Errors
/// That process has ended already, or the system refused.
pub fn die_with_parent() -> anyhow::Result<()> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the parent")?;
    // The parent may have died before it was asked for.
    let is_child = getppid().is_some_and(|pid| pid.as_raw_nonzero().to_string() == parent);
    if is_child { Ok(()) } else { Err(anyhow!("the process that started this has ended")) }
}
