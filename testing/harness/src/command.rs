//! How each program that starts lotteries begins and ends: its role, its command line, a runtime,
//! one printed error, an exit code.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::{CommandFactory, Parser};
use program::exit::Exit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process;

/// The main function of one of the programs.
pub type Main = fn(std::vec::IntoIter<OsString>) -> Exit;

/// Runs `main`, or what `roles` name if that is the first argument: so servers and clients are there
/// as processes whatever was built. `arguments` start with the program's name; a role takes its
/// place.
pub fn dispatch(roles: &[(&str, Main)], main: fn(Vec<OsString>) -> Exit) -> Exit {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let role = roles.iter().find(|(role, _)| arguments.get(1).is_some_and(|word| word == role));
    let Some((_, child)) = role else { return main(arguments) };
    arguments.remove(0);
    match process::die_with_parent() {
        Ok(()) => child(arguments.into_iter()),
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed to {error:#}");
            Exit::Failed
        }
    }
}

/// What a command line asks for.
///
/// # Errors
/// How to end: it is wrong, or it asked for help. That is printed then.
pub fn options<O: Parser>(arguments: Vec<OsString>) -> Result<O, Exit> {
    O::try_parse_from(arguments).map_err(|error| {
        // Help goes to standard output and is right; all else is not.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Right }
    })
}

/// Does what `command` does, on this thread; prints what failed.
pub fn run(command: impl Future<Output = anyhow::Result<Exit>>) -> Exit {
    // Children die with the thread that started them: all of it runs on this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.context("start the runtime").and_then(|runtime| runtime.block_on(command));
    ran.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "failed to {error:#}");
        Exit::Failed
    })
}

/// Each of up to 216 processes takes a few descriptors. If the limit cannot be raised, starting them
/// fails and says so.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many files this process may have open; `None` for any number.
#[must_use]
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The options that the script at `path` lets through but `O` does not know, and the other way round.
///
/// # Errors
/// The script cannot be read.
pub fn script_differences<O: CommandFactory>(path: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(path)?.replace("\\\n", " ");
    let line = text.lines().find_map(|line| line.strip_prefix("options ")).unwrap_or_default();
    let script: BTreeSet<String> = line.split_whitespace().map(str::to_owned).collect();
    let command = O::command();
    let options = command.get_arguments().filter_map(|argument| argument.get_long());
    let program = options.map(|name| format!("--{name}")).collect();
    Ok(script.symmetric_difference(&program).cloned().collect())
}
