//! The client as a program of its own.

fn main() -> program::exit::Exit {
    client::main(std::env::args_os())
}
