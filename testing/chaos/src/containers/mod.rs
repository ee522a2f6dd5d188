//! Chaos with containers: what only they show, with a real Compose project.
//!
//! Containers are killed, stopped, paused, cut off from the network, added and removed at seeded
//! moments while agencies send; then the lottery has to come to its end by itself. `plan` decides,
//! `faults` causes the faults with `docker` as a child process, the `observer` asks all servers
//! meanwhile, and `checks` looks at everything at the end.
//!
//! **Invariant**: nothing but the project that was named is touched.

mod checks;
mod container;
mod docker;
mod environment;
mod faults;
mod observer;
mod plan;
mod run;

pub use run::hold;
