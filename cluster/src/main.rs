//! `cluster`: a whole lottery on one machine; also `cluster server …` and `cluster client …`.

fn main() -> program::exit::Exit {
    cluster::main(std::env::args_os())
}
