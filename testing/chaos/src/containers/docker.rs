//! Docker as a child process: one command, its end, and what it said.
//!
//! Every command is limited in time, and none gets the terminal's signals: a program that was
//! told to end still takes everything down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// How long any command may take. Compose waits for health checks within it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// What a command said.
#[derive(Debug)]
pub struct Output {
    /// On standard output.
    pub output: String,
    /// On standard error.
    pub errors: String,
}

/// One Compose project and the settings of its file.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its name.
    pub project: String,
    files: [PathBuf; 2],
    settings: BTreeMap<&'static str, String>,
}

impl Docker {
    /// The project `project` of docker-compose.yaml in this directory, which `overrides` changes,
    /// with these variables.
    #[must_use]
    pub fn new(project: &str, overrides: &Path, settings: BTreeMap<&'static str, String>) -> Self {
        let files = ["docker-compose.yaml".into(), overrides.to_owned()];
        Self { project: project.to_owned(), files, settings }
    }

    /// `docker ARGUMENTS`.
    ///
    /// # Errors
    /// It fails, or takes too long: then the error has what it said.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let running = timeout(COMMAND_TIMEOUT, self.run_for_long(arguments));
        let said = running.await.with_context(|| format!("wait for docker {arguments:?}"));
        said?
    }

    /// `docker ARGUMENTS`, however long it takes.
    ///
    /// # Errors
    /// It fails: then the error has what it said.
    pub async fn run_for_long(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new("docker")
            .args(arguments)
            .envs(&self.settings)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .output()
            .await
            .context("start docker")?;
        let [said, errors] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if !output.status.success() {
            bail!("docker {}: {}: {}", arguments.join(" "), output.status, errors.trim_end());
        }
        Ok(Output { output: said, errors })
    }

    /// `docker compose ARGUMENTS` for this project.
    ///
    /// # Errors
    /// As [`Docker::run`].
    pub async fn compose(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let [file, overrides] = self.files.each_ref().map(|path| path.to_string_lossy());
        let head = ["compose", "--project-name", &self.project, "--file", &file, "--file"];
        self.run(&[&head, [&*overrides].as_slice(), arguments].concat()).await
    }

    /// The names of the containers of `service`, running or not, in the order of their numbers.
    ///
    /// # Errors
    /// As [`Docker::run`].
    pub async fn names(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        let form = "{{.Names}}";
        let said = self
            .run(&["ps", "--all", "--filter", &project, "--filter", &service, "--format", form])
            .await?;
        let mut names: Vec<String> = said.output.lines().map(str::to_owned).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        Ok(names)
    }
}
