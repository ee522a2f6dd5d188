//! The client's library against servers in the test's process that follow a script. What real
//! processes can show is in `testing/system`.

#![cfg(test)]

mod fallback;
mod reference;
mod replay;
mod scripted;
mod support;
mod winners;
