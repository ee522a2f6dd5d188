//! The store of messages: one log with one order, durable, the same for every instance.

use std::future::Future;
use std::sync::Arc;

use messages::{Command, Line, Online, Participant, View};
use protocol::chat::{ChatRefusal, Name};
use tokio::sync::watch;

use super::{Unavailable, Unknown};
#[cfg(doc)]
use crate::limits::ANSWER_LINES_MAX;

/// Lines that were read, with their positions.
pub type ReadLines = Vec<(u64, Arc<Line>)>;

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commanded {
    /// It is stored at this position, now or earlier, and durable.
    Stored(u64),
    /// The server could not; nothing was done, and trying again may help.
    TryAgain(String),
    /// It breaks a rule: trying again will not help.
    Refused(ChatRefusal, String),
}

/// What stores messages. Cheap to clone: all clones are one store.
///
/// A command that was given is carried out, whether or not its caller still waits for the reply.
pub trait MessageStore: Clone + Send + Sync + 'static {
    /// Carries a command out.
    fn command(&self, command: Command) -> impl Future<Output = Result<Commanded, Unknown>> + Send;

    /// The lines behind `after` that are kept in memory: the next [`ANSWER_LINES_MAX`] at the most,
    /// none beyond the view. `None` if they have to be read.
    fn recent_lines(&self, after: u64) -> Option<ReadLines>;

    /// As [`MessageStore::recent_lines`], read from where they are stored.
    fn read_lines(&self, after: u64)
    -> impl Future<Output = Result<ReadLines, Unavailable>> + Send;

    /// What everyone may know, whenever it changes. Its lines are durable.
    fn view(&self) -> watch::Receiver<View>;

    /// Looks for what other instances stored, soon.
    fn look(&self);

    /// Who is online.
    fn online(&self) -> Vec<Online>;

    /// Who has this name.
    fn participant(&self, name: &Name) -> Option<Participant>;

    /// The word of what happened last to the subject of an event.
    fn last_event(&self, subject: &str) -> Option<String>;

    /// Whether the instance of this name lives; one that cannot be asked does.
    fn is_alive(&self, instance: &str) -> impl Future<Output = bool> + Send;
}
