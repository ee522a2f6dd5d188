//! Chaos with processes: servers and clients of this machine, with proxies between them.
//!
//! `plan` decides what happens, from the seed alone; `environment` starts the processes and the
//! proxy before each server; `run` causes the faults and then waits for the agencies' ends; the
//! `answer_checker` compares every answer that passes, and `checks` all that is left at the end.
//! Nothing here changes a server or a client, or knows their code.

mod answer_checker;
#[cfg(test)]
mod answer_checker_tests;
mod cause;
mod checks;
mod client_controller;
mod draw_watch;
mod environment;
mod fault;
mod intruder;
pub mod network;
pub mod own_mounts;
mod plan;
mod registry;
mod run;
mod server_controller;
mod small_disk;

pub use run::hold;
