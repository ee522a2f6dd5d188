//! The client program. Everything is in the library, so that tests can use it.

fn main() -> program::exit::Exit {
    client::main(std::env::args_os())
}
