//! The properties of the project's tests, for `fuzz_targets/` to put a fuzzer's inputs to.
//!
//! Nothing is claimed here: what must hold stands beside the tests that check it with random
//! inputs, so that both check the same.

#[path = "../../../client/tests/properties/main.rs"]
pub mod client;
#[path = "../../../crates/protocol/tests/properties/main.rs"]
pub mod protocol;
#[path = "../../../server/tests/properties/main.rs"]
pub mod server;
