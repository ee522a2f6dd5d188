//! The server's program: see [`server::main`].

use program::exit::Exit;

fn main() -> Exit {
    server::main(std::env::args_os())
}
