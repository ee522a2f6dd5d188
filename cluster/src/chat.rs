//! `cluster chat`: servers for people who talk, which move under them.
//!
//! One server more than serve is there in turn: it starts, and only then another one is drained. So
//! there is always one to go on at.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use harness::cluster::{Cluster, ClusterPlan};
use harness::command;
use harness::directory::{self, RunDirectory};
use harness::volume::Volume;
use program::exit::Exit;
use program::shutdown;
use tokio::time::sleep;

/// Starts servers for people who talk with `cluster client chat`
#[derive(Debug, Clone, Parser)]
#[command(name = "cluster chat", version, max_term_width = 100)]
pub struct ChatOptions {
    /// How many servers, 2 to 16; while they move, one of them is away
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(2..=16))]
    pub servers: u8,

    /// How many people must be there before anyone reads
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub minimum: u32,

    /// Start one server and drain another one every so many seconds, in turn
    #[arg(long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub migrate_every: Option<u64>,

    /// Store in DIR and leave the files there; may be given again
    #[arg(long, value_name = "DIR")]
    pub volume: Option<PathBuf>,
}

/// Runs servers as `options` say until a signal.
#[must_use]
pub fn main(options: &ChatOptions) -> Exit {
    command::raise_descriptor_limit();
    command::run(run(options))
}

async fn run(options: &ChatOptions) -> anyhow::Result<Exit> {
    let signal = shutdown::on_signal().context("listen for signals")?;
    let directory = RunDirectory::temporary()?;
    let volume = match &options.volume {
        Some(path) => directory::make(path).context("--volume")?,
        None => directory::make(&directory.path().join("volume"))?,
    };
    let binary = std::env::current_exe().context("find this program's file")?;
    let plan = ClusterPlan {
        servers: options.servers,
        volume: Volume::new(&volume),
        server_settings: vec![("CHAT_MINIMUM".to_owned(), options.minimum.to_string())],
        ..ClusterPlan::new(&binary, directory.path())
    };
    let mut cluster = Cluster::start(plan).await.context("start the servers")?;
    tell(&welcome(&cluster, &binary.display().to_string(), options))?;
    match options.migrate_every.map(Duration::from_secs) {
        None => signal.cancelled().await,
        Some(pause) => {
            let moving = migrate(&mut cluster, pause);
            signal.run_until_cancelled(moving).await.unwrap_or(Ok(()))?;
        }
    }
    let stopped = cluster.stop().await;
    let errors = stopped.err().unwrap_or_default();
    errors.iter().try_for_each(|error| tell(&format!("error: {error:#}")))?;
    Ok(if errors.is_empty() { Exit::Right } else { Exit::Failed })
}

/// Starts the server that is away, and then drains the next one, over and over.
async fn migrate(cluster: &mut Cluster, pause: Duration) -> anyhow::Result<()> {
    let mut away: Option<usize> = None;
    loop {
        sleep(pause).await;
        let servers = cluster.servers_mut();
        let next = away.map_or(0, |place| (place + 1) % servers.len());
        if let Some(server) = away.and_then(|place| servers.get_mut(place)) {
            server.restart().await?;
            tell(&format!("{} has come", server.address()))?;
        }
        if let Some(server) = servers.get_mut(next) {
            server.stop().await?;
            tell(&format!("{} has gone", server.address()))?;
        }
        away = Some(next);
    }
}

fn welcome(cluster: &Cluster, binary: &str, options: &ChatOptions) -> String {
    let moves = options.migrate_every.map_or_else(String::new, |seconds| {
        format!("every {seconds} s one of them goes, and the one that was away comes back\n")
    });
    format!(
        "{} servers for people who talk; in other terminals:\n\n  \
         export CLI_SERVER_ADDRESS={}\n  {binary} client chat --name ana\n\n{moves}Ctrl-C ends it",
        options.servers,
        cluster.addresses(),
    )
}

fn tell(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("print")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn wrong_values_name_their_option() {
        ChatOptions::command().debug_assert();
        for (option, wrong) in
            [("--servers", "1"), ("--servers", "17"), ("--migrate-every", "0"), ("--minimum", "x")]
        {
            let parsed = ChatOptions::try_parse_from(["cluster chat", option, wrong]);
            assert!(parsed.unwrap_err().to_string().contains(option));
        }
    }
}
