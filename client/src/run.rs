//! Executes the client's commands, from valid settings to an exit code. Prints each error once.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use program::exit::Exit;
use program::log::{CRITICAL, Form, Level};
use protocol::AgencyId;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::claim::{Claim, Claimant};
use crate::cli::{Command, Generate};
use crate::generate;
use crate::input::{self, Input, InputError};
use crate::limits::SHUTDOWN_TIMEOUT;
use crate::session::{Session, SessionError, Status};
use crate::settings::{Config, Id};
use crate::winners::{self, Servers};
use crate::{agency_run, chat, replica, status};

/// An agency without bets has to close, too. But an empty file may also be a mistake.
const CLOSES_EMPTY: &str = "the agency closes with 0 rows, and can send none after that";

/// Executes `client generate`.
pub(crate) fn generate(arguments: &Generate) -> Exit {
    if let Err(error) = arguments.check() {
        program::log::tell_wrong_settings(&error);
        return Exit::Usage;
    }
    match generate::write_files(&arguments.out, arguments.bets(), arguments.force) {
        Ok(()) => Exit::Right,
        Err(error) => {
            program::log::init(Level::Info, Form::Text);
            let error = format!("{error:#}");
            error!(target: CRITICAL, action = "generate", result = "fail", error);
            Exit::Failed
        }
    }
}

/// Executes a command that needs the servers.
pub(crate) fn run(command: &Command, config: &Config) -> Exit {
    program::log::init(config.level, config.form);
    program::settings::log_effective(&config.effective, &config.unknown, "client/config.yaml");
    let exit = run_in_runtime(command, config).unwrap_or_else(|error| error.report(command));
    let (result, code) = (if exit == Exit::Right { "success" } else { "fail" }, exit.code());
    info!(action = "exit", result, code);
    exit
}

/// Executes `client chat` and `client talk`. People read the screen, so that only what is serious is
/// logged.
pub(crate) fn talk(command: &Command, config: &Config) -> Exit {
    program::log::init(Level::Warning, config.form);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let talked = runtime.context("start the runtime").and_then(|runtime| {
        let talked = runtime.block_on(async {
            let shutdown = program::shutdown::on_signal().context("install signal handlers")?;
            match command {
                Command::Chat(arguments) => chat::run(arguments, config, &shutdown).await,
                Command::Talk(arguments) => chat::run_talk(arguments, &shutdown).await,
                _ => unreachable!("no other command is talk"),
            }
        });
        runtime.shutdown_background();
        talked
    });
    match talked {
        Ok(()) => Exit::Right,
        Err(error) => {
            let error = format!("{error:#}");
            error!(target: CRITICAL, action = "chat", result = "fail", error);
            Exit::Failed
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{0}")]
    Setting(String),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl CommandError {
    /// Logs the error and returns the exit code. A replay that a signal ended is a success, because
    /// service managers expect it; it resumes at the next start. A question without an answer is a
    /// failure.
    fn report(self, command: &Command) -> Exit {
        match self {
            Self::Setting(error) => {
                program::log::tell_wrong_settings(&error);
                Exit::Usage
            }
            Self::Session(SessionError::Shutdown) => match command {
                Command::Replay => Exit::Right,
                _ => Exit::Failed,
            },
            Self::Input(error) => {
                for line in error.to_string().lines() {
                    error!(target: CRITICAL, action = "bets_read", result = "fail", error = line);
                }
                Exit::Usage
            }
            Self::Session(_) | Self::Other(_) => {
                let error = format!("{self:#}");
                error!(target: CRITICAL, action = "client", result = "fail", error);
                Exit::Failed
            }
        }
    }
}

fn run_in_runtime(command: &Command, config: &Config) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let exit = runtime.block_on(execute(command, config));
    // A look-up that was given up may block its thread for many seconds: do not wait for it.
    runtime.shutdown_background();
    exit
}

async fn execute(command: &Command, config: &Config) -> Result<Exit, CommandError> {
    // First of all, because process 1 of a container ignores signals without handlers.
    let shutdown = &program::shutdown::on_signal().context("install signal handlers")?;
    if !matches!(command, Command::Status(_)) {
        check_winners_file(config)?;
    }
    // The claim lasts until it is dropped at the end of this function.
    let (agency, _claim) = match command.agency().map(Id::Number).or(config.id) {
        Some(Id::Number(agency)) => (agency, None),
        Some(Id::Auto) | None => {
            let claim = claim_number(config, shutdown).await?;
            (claim.agency(), Some(claim))
        }
    };
    match command {
        Command::Status(_) => {
            // Generated bets are not the agency's, so they are no bets to compare.
            let config = &Config { generate_rows: 0, ..config.clone() };
            let input = match load(config, agency, shutdown).await {
                Err(CommandError::Input(InputError::Missing(_))) => None,
                input => Some(input?),
            };
            let work = async |session: &mut Session| print_status(session, input.as_ref()).await;
            in_session(config, agency, shutdown, work).await
        }
        Command::Winners(_) => {
            let work = async |session: &mut Session| print_winners(session, config).await;
            in_session(config, agency, shutdown, work).await
        }
        _ => {
            let input = load(config, agency, shutdown).await?;
            let (cantidad, source) = (input.bets.rows(), input.source.as_str());
            info!(action = "bets_read", result = "success", cantidad, source);
            if cantidad == 0 {
                let warning = format!("{source} has no bets: {CLOSES_EMPTY}");
                warn!(action = "bets_read", result = "success", cantidad, warning);
            }
            let work = async |session: &mut Session| {
                session.bar = progress_bar(config, cantidad);
                let documents = agency_run::run(session, &input).await?;
                write_winners(&documents, config)
            };
            in_session(config, agency, shutdown, work).await
        }
    }
}

/// Claims an agency number for this client.
async fn claim_number(
    config: &Config,
    shutdown: &CancellationToken,
) -> Result<Claim, CommandError> {
    let preferred = tokio::select! {
        number = replica::number() => number,
        () = shutdown.cancelled() => return Err(SessionError::Shutdown.into()),
    };
    let config = config.clone();
    let claim = move || {
        let claimant = Claimant { host: &config.host, preferred };
        Claim::choose(&config.claims_dir, config.agencies, claimant)
    };
    let claim = run_blocking(claim, shutdown).await??;
    info!(action = "claim", result = "success", agency = claim.agency().get());
    Ok(claim)
}

/// Reads the agency's bets.
async fn load(
    config: &Config,
    agency: AgencyId,
    shutdown: &CancellationToken,
) -> Result<Input, CommandError> {
    let config = config.clone();
    let load = move || input::load(&config, agency);
    Ok(run_blocking(load, shutdown).await??)
}

/// Runs `blocking` on another thread, so that a signal ends the wait for it at once.
async fn run_blocking<T: Send + 'static>(
    blocking: impl FnOnce() -> T + Send + 'static,
    shutdown: &CancellationToken,
) -> Result<T, CommandError> {
    tokio::select! {
        done = tokio::task::spawn_blocking(blocking) => Ok(done.context("wait for a thread")?),
        () = shutdown.cancelled() => Err(SessionError::Shutdown.into()),
    }
}

/// The draw may be hours away, so a wrong path is reported before anything is sent.
fn check_winners_file(config: &Config) -> Result<(), CommandError> {
    let Some(path) = &config.winners_file else { return Ok(()) };
    winners::check_file(path).map_err(|error| {
        let path = path.display();
        CommandError::Setting(format!(
            "CLI_WINNERS_FILE={path}: must be a path to write to: {error}"
        ))
    })
}

/// Does `work` in a session. After a signal, the work ends between two packets, or after
/// [`SHUTDOWN_TIMEOUT`] at the latest.
async fn in_session(
    config: &Config,
    agency: AgencyId,
    shutdown: &CancellationToken,
    work: impl AsyncFnOnce(&mut Session) -> Result<Exit, CommandError>,
) -> Result<Exit, CommandError> {
    let mut session = Session::new(config, agency, shutdown.clone());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    };
    let exit = tokio::select! {
        exit = work(&mut session) => exit,
        () = deadline => Err(SessionError::Shutdown.into()),
    };
    session.bar.finish_and_clear();
    exit
}

async fn print_winners(session: &mut Session, config: &Config) -> Result<Exit, CommandError> {
    let documents = match winners::wait(session, Servers::Current(None)).await {
        Err(SessionError::LegacyServers) => {
            session.set_connection_per_packet(true);
            winners::wait(session, Servers::Legacy).await?
        }
        waited => waited?,
    };
    write_winners(&documents, config)
}

fn write_winners(documents: &str, config: &Config) -> Result<Exit, CommandError> {
    winners::write_winners(documents, &mut io::stdout().lock(), config.winners_file.as_deref())
        .context("write the winners")?;
    Ok(Exit::Right)
}

async fn print_status(session: &mut Session, input: Option<&Input>) -> Result<Exit, CommandError> {
    let status = session.status().await?;
    let (own, exit) = status::compare(status, input.map(|input| &input.bets));
    let (agency, Status { rows, digest, state }) = (session.agency, status);
    let report = format!(
        "agency: {agency}\nstored rows: {rows}\ndigest: {digest}\nstate: {state}\nown bets: {own}\n"
    );
    io::stdout().write_all(report.as_bytes()).context("print the status")?;
    Ok(exit)
}

/// A bar on a terminal. At level INFO each batch has a log line, which shows the progress already.
fn progress_bar(config: &Config, rows: u64) -> ProgressBar {
    let is_sparse = matches!(config.level, Level::Warning | Level::Error | Level::Critical);
    if !io::stderr().is_terminal() || config.form != Form::Text || !is_sparse {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} bets, {per_sec}, {eta} left");
    ProgressBar::new(rows).with_style(style.expect("the template is well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Which;

    #[test]
    fn a_stopped_replay_is_a_success_and_an_unanswered_question_is_a_failure() {
        let report = |command| CommandError::Session(SessionError::Shutdown).report(&command);
        assert_eq!(report(Command::Replay), Exit::Right);
        assert_eq!(report(Command::Winners(Which { agency: None })), Exit::Failed);
        assert_eq!(report(Command::Status(Which { agency: None })), Exit::Failed);
    }
}
