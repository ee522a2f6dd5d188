//! How each command of this program begins and ends: its command line read, a runtime, one printed
//! error, an exit code.

use std::ffi::OsString;
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Parser;
use program::exit::Exit;

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

/// Does what `command` does, on this thread; tells what failed.
pub fn run(command: impl Future<Output = anyhow::Result<Exit>>) -> Exit {
    // Children die with the thread that started them: all of it runs on this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.context("start the runtime").and_then(|runtime| runtime.block_on(command));
    ran.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "failed to {error:#}");
        Exit::Failed
    })
}
