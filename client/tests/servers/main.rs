//! The client's library against servers within the test's process, which follow a script.

mod legacy;
mod replay;
#[cfg(test)]
mod support;
mod winners;
