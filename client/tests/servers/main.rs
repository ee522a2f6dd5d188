//! The client's library against servers within the test's process, which follow a script.

mod legacy;
#[cfg(test)]
mod reference;
mod replay;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod support;
mod winners;
