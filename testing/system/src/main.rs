//! The programs under test in one: `system server …` and `system client …`.

use harness::command;
use program::exit::Exit;

fn main() -> Exit {
    command::dispatch(&[("server", server::main), ("client", client::main)], |_| Exit::Usage)
}
