//! The client's library against servers in the test's process that follow a script. What real
//! processes can show is in `testing/system`.

mod fallback;
#[cfg(test)]
mod reference;
mod replay;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod support;
mod winners;
