//! What must come out of a lottery, stated without any code of the server, the client or the
//! protocol.
//!
//! [`model`] is the lottery's specification, executable: what a server owes to each line. [`audit`]
//! counts what is stored and announced against the files of bets.

mod agency_file;
pub mod audit;
pub mod expected;
pub mod head;
pub mod model;
pub mod packet;
pub mod stored;
