//! The server's command line and its commands: parses, puts an instance together, runs it, and
//! turns the result into one log line and an exit code. Knows no packets and no files of the
//! volume.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Parser, Subcommand};
use journal::disk::RealDisk;
use messages::{Line, LineKind};
use program::exit::Exit;
use program::{descriptors, dotenv, log, settings, shutdown};
use protocol::InvalidValue;
use protocol::chat::{MessageText, Name};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::announce::UdpAnnouncer;
use crate::chat::{self, Chat, MessageHints};
use crate::limits::{DRAIN_WAIT_MAX, LAST_LOCK_TIMEOUT, LOCK_TIMEOUT, SETTLE_TIMEOUT};
use crate::lottery::Lottery;
use crate::net::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED};
use crate::net::{self, Shared};
use crate::settings::Config;
use crate::store::Store as _;
use crate::store::file::{
    self, FileMessages, FileStore, MessageSettings, OpenError, StoreSettings,
};
use crate::store::messages::MessageStore;
use crate::watch::Common;
use crate::{health, prepare, watch};

const LISTEN_ADVICE: &str =
    "they must be an address of this machine, and a port that no other program uses";
const RECEIVE_ADVICE: &str =
    " (a port that no other program uses alone, and that this user may use)";
const IN_USE_ADVICE: &str = "; if no program uses it, closed connections of a server that ended \
                             keep it for up to 60 s: wait a minute";
const RESTART_OTHERS: &str = "restart the servers of the reference system on this volume, which \
                              answer with the winners of this day until then; other servers \
                              continue";
const DISK_FAILED: &str = "this instance ends, because its disk may have lost what was written: \
                           what was acknowledged is safe; stop the other servers, check the disk, \
                           then start them again";

/// An instance of the lottery's server.
///
/// Settings are read from a file: that of --config, else ./config.ini, else ./server/config.ini.
/// The file is optional. An environment variable of the same name overrides a setting.
/// server/config.ini lists all settings.
///
/// Exit codes: 0 success, or a signal ended the server; 1 failed; 2 the command line or a setting
/// is wrong.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
struct Arguments {
    /// The settings file.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agencies (the default).
    Serve,
    /// Move the files of a finished draw to archive/ of the volume. Running instances start the
    /// next day by themselves.
    Archive {
        /// Archive the day although its draw was not held.
        #[arg(long)]
        unfinished: bool,
    },
    /// Check whether the instance with these settings answers.
    ///
    /// Asks for the status of agency 1. For the answer, the instance takes its locks and reads its
    /// files, but writes nothing. An instance on a full disk is healthy, because it still answers
    /// what is stored and who won, and a restart would not make room. ERROR lines report the disk.
    Health,
    /// Tell all participants something, or one of them.
    Notice {
        /// The name of the one.
        #[arg(long, value_name = "NAME", value_parser = name)]
        to: Option<Name>,
        /// What they read: up to 1000 bytes.
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Print the messages, also those that are private.
    Messages {
        /// Go on with those that come.
        #[arg(long)]
        follow: bool,
    },
    /// Ask the instance with these settings to end, and wait until it has. It must run on this
    /// machine, or in this container. Agencies and participants continue at other instances.
    Drain,
    /// Make the volume writable for a group (for containers; needs the right to change files).
    Prepare {
        /// The id of the group with which instances run.
        #[arg(long, value_name = "GID")]
        group: u32,
    },
}

/// Runs the server with these arguments, the program's name first, and returns its exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are printed to standard output. If printing fails, there is nowhere
            // to report it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Right };
        }
    };
    let loaded = dotenv::load()
        .map_err(anyhow::Error::from)
        .and_then(|()| Config::load(arguments.config.as_deref()));
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            log::tell_wrong_settings(&format!("{error:#}"));
            return Exit::Usage;
        }
    };
    log::init(config.level, config.form);
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => run_serve(&config),
        Command::Archive { unfinished } => archive(&config, unfinished),
        Command::Health => ended("health", health::check(&config)),
        Command::Notice { to, text } => ended("notice", notice(&config, to, &text.join(" "))),
        Command::Messages { follow } => ended("messages", messages(&config, follow)),
        Command::Drain => ended("drain", drain(&config)),
        Command::Prepare { group } => {
            ended("prepare", prepare::give_to_group(&config.volume, group))
        }
    }
}

fn ended(action: &'static str, result: anyhow::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Right,
        Err(error) => {
            let error = format!("{error:#}");
            error!(target: log::CRITICAL, action, result = "fail", error);
            Exit::Failed
        }
    }
}

fn store_settings(config: &Config, instance: String) -> StoreSettings {
    StoreSettings {
        volume: config.volume.clone(),
        agencies_amount: config.agencies_amount,
        winning_number: config.winning_number,
        instance,
        lock_timeout: LOCK_TIMEOUT,
    }
}

fn archive(config: &Config, unfinished: bool) -> Exit {
    let settings = store_settings(config, "archive".to_owned());
    match file::archive(RealDisk::new(), settings, unfinished) {
        Ok(day) => {
            let directory = day.directory.display();
            info!(action = "archive", result = "success", %directory);
            if day.has_others_rows {
                let warning = "bets.csv has rows of another system";
                warn!(action = "archive", result = "success", warning, next = RESTART_OTHERS);
            }
            Exit::Right
        }
        Err(error) => {
            let is_of_settings = error.is_of_settings();
            let exit = ended("archive", Err(error.into()));
            if is_of_settings { Exit::Usage } else { exit }
        }
    }
}

fn message_settings(config: &Config, instance: String) -> MessageSettings {
    MessageSettings {
        volume: config.volume.clone(),
        instance,
        minimum: config.chat_minimum,
        lock_timeout: LOCK_TIMEOUT,
    }
}

fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error: InvalidValue| format!("must be {}", error.allowed()))
}

fn notice(config: &Config, to: Option<Name>, text: &str) -> anyhow::Result<()> {
    let text = MessageText::new(text.to_owned())?;
    let settings = message_settings(config, "notice".to_owned());
    let position = file::notice(RealDisk::new(), settings, to, text)?;
    info!(action = "notice", result = "success", position);
    Ok(())
}

fn messages(config: &Config, follow: bool) -> anyhow::Result<()> {
    let settings = message_settings(config, "messages".to_owned());
    let mut out = io::stdout().lock();
    // A closed pipe ends it without an error.
    file::follow(RealDisk::new(), settings, follow, |position, line| {
        let at = i64::try_from(line.time).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
        let at = at.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
        let shown = writeln!(out, "{position} {at} {} {}", line.kind.word(), shown(line));
        shown.and_then(|()| out.flush()).is_ok()
    })
}

/// A line of the log for an operator, who sees everything but keys.
fn shown(line: &Line) -> String {
    let Line { kind, from, to, text, .. } = line;
    match kind {
        LineKind::Message => format!("{from}: {text}"),
        LineKind::Private => format!("{from} to {to}: {text}"),
        LineKind::Notice if !to.is_empty() => format!("to {to}: {text}"),
        LineKind::Join | LineKind::Move => format!("{from} at {to}"),
        LineKind::Leave => from.clone(),
        LineKind::Active => "everyone reads everything from here on".to_owned(),
        LineKind::Notice | LineKind::Event => text.clone(),
    }
}

fn drain(config: &Config) -> anyhow::Result<()> {
    let instance = instance_name(SocketAddrV4::new(config.ip, config.port));
    let process = file::drain(&RealDisk::new(), &config.volume, &instance, DRAIN_WAIT_MAX)?;
    info!(action = "drain", result = "success", instance, process);
    Ok(())
}

fn run_serve(config: &Config) -> Exit {
    settings::log_effective(&config.effective, &config.unknown, "server/config.ini");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.context("start the runtime").and_then(|r| r.block_on(serve(config)));
    match served {
        Ok(()) => {
            info!(action = "shutdown", result = "success");
            Exit::Right
        }
        Err(error) if error.downcast_ref().is_some_and(OpenError::is_of_settings) => {
            log::tell_wrong_settings(&format!("{error:#}"));
            Exit::Usage
        }
        Err(error) => ended("serve", Err(error)),
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal().context("install handlers of signals")?;
    let refused = |error: io::Error| {
        let in_use = error.kind() == io::ErrorKind::AddrInUse;
        let more = if in_use { IN_USE_ADVICE } else { "" };
        let (ip, port) = (config.ip, config.port);
        let text = format!("listen on SERVER_IP={ip} SERVER_PORT={port} ({LISTEN_ADVICE}{more})");
        anyhow::Error::new(error).context(text)
    };
    let socket = net::bind(config.ip, config.port).map_err(refused)?;
    let address =
        socket.local_addr()?.as_socket_ipv4().context("the socket has no IPv4 address")?;
    let is_new = !config.volume.exists();
    let instance = instance_name(address);
    let (store, mut end) = FileStore::open(store_settings(config, instance.clone()))?;
    if is_new {
        // A mistyped name would create an empty volume, without the day's bets: make that visible.
        info!(action = "volume", result = "success", made = %config.volume.display());
    }
    let wait_end = store.wait_end();
    let message_settings = message_settings(config, instance.clone());
    let (messages, mut messages_end) =
        FileMessages::open_on(RealDisk::new(), message_settings, &wait_end)?;
    let broadcast = config.broadcast();
    let announcer = UdpAnnouncer::bind(broadcast).with_context(|| {
        format!("receive announcements on UDP_BROADCAST_PORT={}{RECEIVE_ADVICE}", broadcast.port())
    })?;
    // Last, so that a client that can connect is served.
    let listener = net::listen(socket, config.backlog).map_err(refused)?;
    info!(action = "listen", result = "success", %address, announce_to = %broadcast);
    let metrics = store.metrics();
    let lottery = Lottery::new(store.clone(), config.agencies_amount);
    let chat = Chat::new(messages.clone(), &instance);
    // Each of the tasks below may end before the others, and a store ends with its last user.
    let used = (store.clone(), messages.clone());
    let hints = exchange_hints(broadcast, chat.clone(), shutdown.clone());
    let presence = chat.clone().watch_presence(shutdown.clone());
    let timeline = lottery.timeline();
    let recording = chat::record(messages, instance, timeline, store.draw(), shutdown.clone());
    let common =
        Common { agencies_amount: config.agencies_amount, winning_number: config.winning_number };
    let watching = watch::watch(store, announcer, common, lottery.closed(), shutdown.clone());
    let shared = Shared::new(lottery, chat, Arc::clone(&metrics), shutdown.clone());
    let serving = net::run(listener, shared, raise_descriptors());
    let ending = async {
        shutdown.cancelled().await;
        wait_end.set(Instant::now() + LAST_LOCK_TIMEOUT);
    };
    tokio::select! {
        // When these have ended, nothing uses the stores any more.
        _ = async { tokio::join!(serving, watching, ending, hints, presence, recording) } => {
            metrics.log();
        }
        ended = end.wait() => return ended.context(DISK_FAILED),
        ended = messages_end.wait() => return ended.context(DISK_FAILED),
    }
    drop(used);
    let ended = async { tokio::try_join!(end.wait(), messages_end.wait()).map(drop) };
    match timeout(SETTLE_TIMEOUT, ended).await {
        Ok(ended) => ended.context("finish the store"),
        Err(_) => {
            let next = "the next holder of the locks recovers what is pending";
            info!(action = "settle", result = "fail", error = "the locks are held", next);
            Ok(())
        }
    }
}

/// Exchanges hints of messages. Without a port for them the instance looks by itself.
async fn exchange_hints<M: MessageStore>(
    announce_to: SocketAddrV4,
    chat: Chat<M>,
    shutdown: CancellationToken,
) {
    match MessageHints::beside(announce_to) {
        Ok(hints) => hints.exchange(chat.store().clone(), chat.said(), shutdown).await,
        Err(error) => {
            let (error, next) = (error.to_string(), "looks for messages by itself, twice a second");
            warn!(action = "hear", result = "fail", error, next);
        }
    }
}

/// The name of this instance in the draw's record: its address, or the host's name and the port if
/// it listens on all addresses.
fn instance_name(address: SocketAddrV4) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", address.port())
}

/// Raises the limit of descriptors as far as [`CONNECTIONS_MAX`] needs. Returns how many
/// connections the granted ones allow.
fn raise_descriptors() -> usize {
    let granted = descriptors::raise((CONNECTIONS_MAX + DESCRIPTORS_RESERVED) as u64);
    let granted = usize::try_from(granted).unwrap_or(CONNECTIONS_MAX);
    let connections_max = granted.saturating_sub(DESCRIPTORS_RESERVED).clamp(1, CONNECTIONS_MAX);
    if connections_max < CONNECTIONS_MAX {
        let next = "for more connections at once raise the limit of open files (ulimit -n, nofile)";
        info!(action = "limit", result = "success", connections_max, open_files = granted, next);
    }
    connections_max
}
