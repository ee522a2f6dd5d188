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
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, set_parent_process_death_signal,
};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::log::{LogLine, ProcessLog};

/// The variable that names the process with which a child has to end.
const PARENT: &str = "LOTERIA_PARENT";

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
        let settings = self.settings.iter().map(|(key, value)| format!(" {key}='{value}'"));
        let binary = [format!(" {}", self.binary.display())];
        let arguments = self.arguments.iter().map(|argument| format!(" {argument}"));
        settings.chain(binary).chain(arguments).fold("env -i".to_owned(), |line, word| line + &word)
    }
}

/// A running or ended child process.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    launch: Launch,
    directory: PathBuf,
    is_piped: bool,
    child: Child,
    log: ProcessLog,
    copying: Option<JoinHandle<()>>,
}

impl ChildProcess {
    /// Starts `launch` in `directory`; its log goes to `<name>.log` there, after what is in it,
    /// and its output to `<name>.out`. It writes its log itself: to pass it on would take as much of
    /// the processor as a load.
    ///
    /// The child dies with the thread that calls this: call it from a thread that stays.
    ///
    /// # Errors
    /// A file could not be made or the program could not be started.
    pub fn spawn(name: &str, launch: &Launch, directory: &Path) -> anyhow::Result<Self> {
        Self::start(name, launch, directory, false)
    }

    /// As [`ChildProcess::spawn`], but its log comes through a pipe. So a limit on the size of its
    /// files does not count for the log.
    ///
    /// # Errors
    /// As [`ChildProcess::spawn`].
    pub fn spawn_piped(name: &str, launch: &Launch, directory: &Path) -> anyhow::Result<Self> {
        Self::start(name, launch, directory, true)
    }

    /// Starts the same again, in the same place.
    ///
    /// # Errors
    /// As [`ChildProcess::spawn`].
    pub fn spawn_again(&self) -> anyhow::Result<Self> {
        Self::start(&self.name, &self.launch, &self.directory, self.is_piped)
    }

    fn start(
        name: &str,
        launch: &Launch,
        directory: &Path,
        is_piped: bool,
    ) -> anyhow::Result<Self> {
        let log_path = directory.join(format!("{name}.log"));
        let log_file = OpenOptions::new().create(true).append(true).open(&log_path);
        let log_file = log_file.with_context(|| format!("open {}", log_path.display()))?;
        let start = log_file.metadata().context("measure a log")?.len();
        let output = File::create(output_path(directory, name)).context("make output file")?;
        let log_end = log_file.try_clone().context("share a log")?;
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
            .stderr(if is_piped { Stdio::piped() } else { Stdio::from(log_end) })
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", launch.shell()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.context("find a process that was just started")?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("watch a process")?;
        let copying = child.stderr.take().map(|pipe| tokio::spawn(copy(pipe, log_file)));
        let log = ProcessLog::new(
            log_path,
            start,
            handle,
            copying.as_ref().map(JoinHandle::abort_handle),
        );
        Ok(Self {
            name: name.to_owned(),
            launch: launch.clone(),
            directory: directory.to_owned(),
            is_piped,
            child,
            log,
            copying,
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
        self.log.path().to_owned()
    }

    /// Changes a setting for [`ChildProcess::spawn_again`].
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.launch.settings.insert(key.to_owned(), value.to_string());
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> &ProcessLog {
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
        if let Some(copying) = self.copying.take() {
            let _ = timeout(LOG_END_TIMEOUT, copying).await;
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

    /// Ends it with `signal`, within `limit`.
    ///
    /// # Errors
    /// It takes longer, or its exit code is not 0.
    pub async fn stop(&mut self, signal: Signal, limit: Duration) -> anyhow::Result<()> {
        self.signal(signal).with_context(|| format!("stop {}", self.name))?;
        self.succeeded(limit).await
    }

    /// Waits up to `limit` for an end with exit code 0.
    ///
    /// # Errors
    /// As [`ChildProcess::stop`].
    pub async fn succeeded(&mut self, limit: Duration) -> anyhow::Result<()> {
        let status = self.wait(limit).await?;
        if status.success() { Ok(()) } else { Err(self.failure(format!("ended with {status}"))) }
    }

    /// Waits up to `limit` for a line of its log.
    ///
    /// # Errors
    /// It ends, or time runs out, without such a line; the error says `what` was waited for.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(LogLine<'_>) -> bool,
    ) -> anyhow::Result<String> {
        match timeout(limit, self.log.wait_for(wanted)).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.failure(format!("ended without logging {what}"))),
            Err(_) => Err(self.failure(format!("has not logged {what}"))),
        }
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

fn output_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.out"))
}

/// Copies a log to its file. If the file cannot be written, the log is still read: a full pipe would
/// stop the process.
async fn copy(mut pipe: ChildStderr, mut file: File) {
    let mut bytes = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut bytes).await {
        let _ = file.write_all(bytes.get(..count).unwrap_or_default());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn launch(script: &str) -> Launch {
        Launch::new(Path::new("/bin/sh"), &["-c", script])
    }

    #[tokio::test]
    async fn lines_are_waited_for_until_the_end_and_a_restart_has_a_log_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let script = "printf 'action: a | ' >&2; sleep 0.01; printf 'result: success\\nlast' >&2";
        for spawn in [ChildProcess::spawn, ChildProcess::spawn_piped] {
            let mut first = spawn("client", &launch(script), directory.path()).unwrap();
            first.succeeded(LIMIT).await.unwrap();
            let mut process = first.spawn_again().unwrap();
            let line = process.wait_for("a", LIMIT, |line| line.is("a", "success")).await.unwrap();
            assert_eq!(line, "action: a | result: success");
            let next = line.len() as u64 + 1;
            let last = process.log().wait_from(next, |line| line.0.starts_with("la")).await;
            assert_eq!(last.as_deref(), Some("last"));
            process.succeeded(LIMIT).await.unwrap();
            assert_eq!(process.log().tail(2), [line.as_str(), "last"]);
            assert_eq!(process.log().wait_from(process.log().count(), |_| true).await, None);
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let mut process =
            ChildProcess::spawn("store", &launch("echo no disk >&2; exit 3"), directory.path())
                .unwrap();
        let unheard =
            process.wait_for("a start", LIMIT, |line| line.is("start", "success")).await.map(drop);
        let ended = process.succeeded(LIMIT).await;
        for (error, what) in [(unheard, "without logging a start"), (ended, "exit status: 3")] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("no disk"), "{error}");
        }
    }
}
