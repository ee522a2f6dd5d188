//! Programs of other systems: found, and run as a user that they accept.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use harness::process::Launch;

/// How long a program may take until it is ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a program may take to end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A user other than root, for servers that do not run as root.
pub struct User {
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
        Some(Self { id: number(2)?, group: number(3)? })
    }

    /// Makes `path` this user's.
    ///
    /// # Errors
    /// The system refused.
    pub fn give(&self, path: &Path) -> anyhow::Result<()> {
        let given = chown(path, Some(self.id), Some(self.group));
        given.with_context(|| format!("give {} to user {}", path.display(), self.id))
    }
}

/// Another system's `program`, run as `user`, which ends with this one even if that is killed, where
/// the system has a way to say so.
#[must_use]
pub fn launch(program: &Path, user: Option<&User>, arguments: &[&str]) -> Launch {
    let Some(setpriv) = find("setpriv") else { return Launch::new(program, arguments) };
    let mut launch = Launch::new(&setpriv, &["--pdeathsig", "INT"]);
    if let Some(User { id, group }) = user {
        let user = [format!("--reuid={id}"), format!("--regid={group}"), "--clear-groups".into()];
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
