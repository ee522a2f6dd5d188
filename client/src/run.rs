//! The commands, from settings that hold to an exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use program::exit::Exit;
use program::log::{CRITICAL, Form, Level};
use protocol::AgencyId;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::claim::{Claim, Claimant};
use crate::cli::{Command, Generate, Which};
use crate::generate::{self, Plan};
use crate::input::{self, Input, InputError};
use crate::limits::SHUTDOWN_TIMEOUT;
use crate::replay::Work;
use crate::session::{Ended, Session};
use crate::settings::{Config, Id, Read};
use crate::status::{Comparison, Standing};
use crate::winners::{self, Servers};
use crate::{day, replica, session};

/// Makes the files of bets.
pub(crate) fn generate(arguments: &Generate) -> Exit {
    if let Err(error) = arguments.check() {
        program::log::tell_wrong_settings(&error);
        return Exit::Usage;
    }
    match generate_files(arguments) {
        Ok(()) => Exit::Right,
        Err(error) => {
            program::log::init(Level::Info, Form::Text);
            let error = format!("{error:#}");
            error!(target: CRITICAL, action = "generate", result = "fail", error);
            Exit::Failed
        }
    }
}

fn generate_files(arguments: &Generate) -> anyhow::Result<()> {
    let &Generate { agencies, rows, seed, winner_number, force, .. } = arguments;
    let out = &arguments.out;
    if !force {
        for agency in AgencyId::all(agencies.get()) {
            let path = out.join(generate::file_name(agency));
            anyhow::ensure!(!path.exists(), "{} is there already (--force)", path.display());
        }
    }
    for agency in AgencyId::all(agencies.get()) {
        let is_last = agency == agencies && agencies.get() > 1;
        let winners = if is_last { arguments.last_winners } else { arguments.winners() };
        let plan = Plan { agency, rows, winners, winner_number, seed };
        let path = out.join(generate::file_name(agency));
        generate::write_file(&plan, out, force)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Runs a command that needs the servers.
pub(crate) fn run(command: &Command, read: &Read) -> Exit {
    let config = &read.config;
    program::log::init(config.level, config.form);
    program::settings::log_effective(&read.effective, &read.unknown, "client/config.yaml");
    let exit = prepare(command, config).unwrap_or_else(|failure| failure.report(command));
    let (result, code) = (if exit == Exit::Right { "success" } else { "fail" }, exit.code());
    info!(action = "exit", result, code);
    exit
}

/// Why a command failed.
enum Failure {
    Setting(String),
    Ended(Ended),
    Input(InputError),
    Other(anyhow::Error),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// A replay that ends because it was told to has done what it was told, and resumes when it is
    /// started again: service managers expect 0. A question that was not answered is a failure.
    fn report(self, command: &Command) -> Exit {
        match self {
            Self::Setting(error) => {
                program::log::tell_wrong_settings(&error);
                Exit::Usage
            }
            Self::Ended(Ended::Shutdown) => {
                if matches!(command, Command::Replay) {
                    Exit::Right
                } else {
                    Exit::Failed
                }
            }
            Self::Ended(ended) => {
                error!(target: CRITICAL, action = "client", result = "fail", error = %ended);
                Exit::Failed
            }
            Self::Input(input) => {
                for line in input.to_string().lines() {
                    error!(target: CRITICAL, action = "bets_read", result = "fail", error = line);
                }
                Exit::Usage
            }
            Self::Other(other) => {
                let error = format!("{other:#}");
                error!(target: CRITICAL, action = "client", result = "fail", error);
                Exit::Failed
            }
        }
    }
}

/// Whom it is about; a claim holds as long as it is kept.
struct Identity {
    agency: AgencyId,
    _claim: Option<Claim>,
}

impl Identity {
    async fn find(
        config: &Config,
        given: Option<AgencyId>,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        match (given, config.id) {
            (Some(agency), _) | (None, Some(Id::Number(agency))) => {
                Ok(Self { agency, _claim: None })
            }
            (None, _) => {
                let preferred = tokio::select! {
                    number = replica::number() => number,
                    () = shutdown.cancelled() => return Err(Ended::Shutdown.into()),
                };
                let config = config.clone();
                let choose = move || {
                    let claimant = Claimant { host: &config.host, preferred };
                    Claim::choose(&config.claims_dir, config.agencies, claimant)
                };
                let claim = unless_stopped(choose, shutdown).await??;
                let agency = claim.agency();
                info!(action = "claim", result = "success", agency = agency.get());
                Ok(Self { agency, _claim: Some(claim) })
            }
        }
    }
}

/// An agency that took no bets has to close, too; but its file may be one that was cut, or never
/// written.
const CLOSES_EMPTY: &str = "the agency closes with 0 rows, and can send none after that";

fn prepare(command: &Command, config: &Config) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(execute(command, config));
    // A look-up that nobody waits for any more may take the system many seconds.
    runtime.shutdown_background();
    done
}

async fn execute(command: &Command, config: &Config) -> Result<Exit, Failure> {
    // First of all: as a container's first process, a program without them cannot be asked to end.
    let shutdown = program::shutdown::on_signal().context("install signal handlers")?;
    let given = match command {
        Command::Status(Which { agency }) | Command::Winners(Which { agency }) => *agency,
        Command::Replay | Command::Generate(_) => None,
    };
    if !matches!(command, Command::Status(_)) {
        check_winners_file(config)?;
    }
    let agency = &Identity::find(config, given, &shutdown).await?;
    let started = |bar| Started { config, agency: agency.agency, shutdown: &shutdown, bar };
    match command {
        Command::Status(_) => {
            // Nothing is made up for a comparison.
            let config = Config { generate_rows: 0, ..config.clone() };
            let input = match load(&config, agency.agency, &shutdown).await {
                Err(Failure::Input(InputError::Missing(_))) => None,
                input => Some(input?),
            };
            let work = async |session: &mut Session| status(session, input.as_ref()).await;
            started(hidden()).stoppable(work).await
        }
        Command::Winners(_) => {
            let work = async |session: &mut Session| ask_winners(session, config).await;
            started(hidden()).stoppable(work).await
        }
        Command::Replay | Command::Generate(_) => {
            let input = load(config, agency.agency, &shutdown).await?;
            let (cantidad, source) = (input.bets.rows(), input.source.as_str());
            info!(action = "bets_read", result = "success", cantidad, source);
            if cantidad == 0 {
                let warning = format!("{source} has no bets: {CLOSES_EMPTY}");
                warn!(action = "bets_read", result = "success", cantidad, warning);
            }
            let work = async |session: &mut Session| replay_all(session, config, &input).await;
            started(progress_bar(config, cantidad)).stoppable(work).await
        }
    }
}

/// The agency's bets.
async fn load(
    config: &Config,
    agency: AgencyId,
    shutdown: &CancellationToken,
) -> Result<Input, Failure> {
    let config = config.clone();
    let load = move || input::load(&config, agency);
    unless_stopped(load, shutdown).await?.map_err(Failure::Input)
}

/// Does what may block, where nobody waits for it: a signal ends the wait at once.
async fn unless_stopped<T: Send + 'static>(
    blocking: impl FnOnce() -> T + Send + 'static,
    shutdown: &CancellationToken,
) -> Result<T, Failure> {
    tokio::select! {
        done = tokio::task::spawn_blocking(blocking) => Ok(done.context("wait for a thread")?),
        () = shutdown.cancelled() => Err(Ended::Shutdown.into()),
    }
}

/// Best known before anything is sent: the draw may be hours away.
fn check_winners_file(config: &Config) -> Result<(), Failure> {
    let Some(path) = &config.winners_file else { return Ok(()) };
    winners::check_file(path).map_err(|error| {
        let path = path.display();
        Failure::Setting(format!("CLI_WINNERS_FILE={path}: must be a path to write to: {error}"))
    })
}

/// What a session starts with.
struct Started<'s> {
    config: &'s Config,
    agency: AgencyId,
    shutdown: &'s CancellationToken,
    bar: ProgressBar,
}

impl Started<'_> {
    /// Does `work` in a session that a signal ends: between two packets, or soon.
    async fn stoppable(
        self,
        work: impl AsyncFnOnce(&mut Session) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let Self { config, agency, shutdown, bar } = self;
        let mut session = Session::new(config, agency, shutdown.clone(), bar.clone());
        let ended = tokio::select! {
            ended = work(&mut session) => ended,
            () = grace(shutdown) => Err(Ended::Shutdown.into()),
        };
        bar.finish_and_clear();
        ended
    }
}

async fn grace(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
}

async fn replay_all(
    session: &mut Session,
    config: &Config,
    input: &Input,
) -> Result<Exit, Failure> {
    let (bets, source) = (&input.bets, input.source.as_str());
    let work = Work { bets, source, is_single: input.is_single, limits: config.limits };
    let documents = day::run(session, work).await?;
    hand_over(&documents, config.winners_file.as_deref())
}

async fn ask_winners(session: &mut Session, config: &Config) -> Result<Exit, Failure> {
    let documents = match winners::wait(session, Servers::Known(None), None).await {
        Err(Ended::OldServers) => {
            session.set_connection_a_packet(true);
            winners::wait(session, Servers::Old, None).await?
        }
        waited => waited?,
    };
    hand_over(&documents, config.winners_file.as_deref())
}

fn hand_over(documents: &str, file: Option<&Path>) -> Result<Exit, Failure> {
    winners::hand_over(documents, &mut io::stdout().lock(), file)
        .context("hand over the winners")?;
    Ok(Exit::Right)
}

async fn status(session: &mut Session, input: Option<&Input>) -> Result<Exit, Failure> {
    let status: session::Status = session.status().await?;
    let bets = input.map(|input| &input.bets);
    let standing = Standing { agency: session.agency(), status, bets };
    io::stdout().write_all(standing.to_string().as_bytes()).context("print the status")?;
    Ok(match standing.comparison() {
        Some(Comparison::Missing(_) | Comparison::Conflict) => Exit::Failed,
        _ => Exit::Right,
    })
}

fn hidden() -> ProgressBar {
    ProgressBar::hidden()
}

/// On a terminal that log lines leave room on: where each batch has its line, those show progress.
fn progress_bar(config: &Config, rows: u64) -> ProgressBar {
    let is_sparse = matches!(config.level, Level::Warning | Level::Error | Level::Critical);
    if !io::stderr().is_terminal() || config.form != Form::Text || !is_sparse {
        return hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} bets, {per_sec}, {eta} left");
    ProgressBar::new(rows).with_style(style.expect("the template is well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_replay_is_right_and_an_unanswered_question_is_not() {
        let report = |command| Failure::Ended(Ended::Shutdown).report(&command);
        assert_eq!(report(Command::Replay), Exit::Right);
        assert_eq!(report(Command::Winners(Which { agency: None })), Exit::Failed);
        assert_eq!(report(Command::Status(Which { agency: None })), Exit::Failed);
    }
}
