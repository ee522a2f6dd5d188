//! A line of the log, as one participant reads it.

use protocol::chat::{Kind, Message, Name};

use crate::line::{Line, LineKind};

/// What `reader` reads of the line at `position`: its place, and nothing else, if the line is for
/// others.
#[must_use]
pub fn message_for(reader: &Name, position: u64, line: &Line) -> Message {
    let Line { time, from, to, sequence, text, .. } = line;
    let is_to_reader = to == reader.as_str();
    let kind = match line.kind {
        LineKind::Message => Kind::Message,
        LineKind::Private if from == reader.as_str() || is_to_reader => Kind::Private,
        LineKind::Notice if to.is_empty() || is_to_reader => Kind::Notice,
        LineKind::Join => Kind::Join,
        LineKind::Leave => Kind::Leave,
        LineKind::Active => Kind::Active,
        LineKind::Event => Kind::Event,
        LineKind::Private | LineKind::Notice | LineKind::Move => Kind::Hidden,
    };
    let (time, none) = (*time, String::new);
    let (from, to, text) = match kind {
        Kind::Hidden => (none(), none(), none()),
        // Key and address are nobody's business; the agency is.
        Kind::Join if *sequence == 0 => (from.clone(), none(), none()),
        Kind::Join => (from.clone(), none(), sequence.to_string()),
        Kind::Message | Kind::Leave => (from.clone(), none(), text.clone()),
        _ => (from.clone(), to.clone(), text.clone()),
    };
    Message { position, time, kind, from, to, text }
}
