//! Programs of other systems: found, and run as a user that they accept.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use harness::process::Launch;

/// How long a program may take until it is ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a program may take to end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The user `nobody` and its group, for servers that do not run as root.
pub const NOBODY: u32 = 65_534;

/// Another system's `program`, run as `user`, which ends with this one even if that is killed, where
/// the system has a way to say so.
#[must_use]
pub fn launch(program: &Path, user: Option<u32>, arguments: &[&str]) -> Launch {
    let Some(setpriv) = find("setpriv") else { return Launch::new(program, arguments) };
    let mut launch = Launch::new(&setpriv, &["--pdeathsig", "INT"]);
    if let Some(id) = user {
        let user = [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".into()];
        launch.arguments.extend(user);
    }
    launch.arguments.extend(["--".to_owned(), program.display().to_string()]);
    launch.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    launch
}

/// The file of an installed program.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// A port of 127.0.0.1 at which no program listens.
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
