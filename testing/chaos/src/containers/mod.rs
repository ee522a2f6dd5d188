//! Chaos in containers: what only they show, with a real Compose project.
//!
//! Containers are killed, stopped, paused, cut off from the network, added and removed at seeded
//! moments while agencies send; then the lottery has to come to its end by itself. `plan` decides,
//! `faults` does it with `docker` as a child process, the `observer` asks all the while, and
//! `verdict` looks at everything. The dice, the independent count and the summary are those of all
//! trials (`trial`), which is why this is here and not in a script.
//!
//! **Invariant**: nothing but the project that was named is touched.

mod container;
mod docker;
mod faults;
mod observer;
mod plan;
mod run;
mod stage;
mod verdict;

pub(crate) use run::hold;
