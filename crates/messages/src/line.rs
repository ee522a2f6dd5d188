//! A line of the log, written as CSV and read again.

use csv::{ReaderBuilder, WriterBuilder};
use serde::{Deserialize, Serialize};

/// What a line is. PROTOCOL.md has a table of what each kind puts into which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// `from` says `text` to all; `sequence` numbers it.
    Message,
    /// `from` says `text` to `to`; `sequence` numbers it.
    Private,
    /// An operator says `text` to all or to `to`.
    Notice,
    /// `from` joins at the instance `to`, for the agency `sequence` or 0; `text` is the SHA-256 of
    /// the key in hex, a blank, and the address for private messages.
    Join,
    /// As a join, of who is online already: at another instance, or with another address.
    Move,
    /// `from` leaves.
    Leave,
    /// From here on everyone reads the log.
    Active,
    /// `text` happened: `to` is its word, `from` what it is about.
    Event,
}

impl LineKind {
    /// The kind's word, as it stands in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Private => "private",
            Self::Notice => "notice",
            Self::Join => "join",
            Self::Move => "move",
            Self::Leave => "leave",
            Self::Active => "active",
            Self::Event => "event",
        }
    }
}

/// A line of the log: `time,kind,from,to,sequence,text`. Its position is its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was stored, in milliseconds since 1970, by the clock of the instance that stored it.
    pub time: u64,
    /// What it is.
    pub kind: LineKind,
    /// Who it is from, or what an event is about.
    pub from: String,
    /// To whom it is, where who joins is, or an event's word.
    pub to: String,
    /// Its number among the messages of its sender, from 1; of a join the agency; else 0.
    pub sequence: u64,
    /// What it says.
    pub text: String,
}

impl Line {
    /// A line in which nothing is set but these.
    #[must_use]
    pub fn new(time: u64, kind: LineKind) -> Self {
        let none = String::new;
        Self { time, kind, from: none(), to: none(), sequence: 0, text: none() }
    }

    /// Appends the line as it stands in the file, with its `\n`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = WriterBuilder::new().has_headers(false).from_writer(out);
        writer.serialize(self).expect("a line is six plain fields");
        writer.flush().expect("writing to a Vec cannot fail");
    }

    /// Reads a line of the file, with or without its `\n`; `None` if it makes no sense.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut reader = ReaderBuilder::new().has_headers(false).from_reader(line);
        reader.deserialize().next()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Line {
            from: "ana".to_owned(),
            sequence: 7,
            text: "a \"b\", c; <d>".to_owned(),
            ..Line::new(1_798_761_600_000, LineKind::Message)
        };
        let mut written = Vec::new();
        for line in [&message, &Line::new(0, LineKind::Active)] {
            let start = written.len();
            line.write(&mut written);
            assert_eq!(Line::parse(&written[start..]).as_ref(), Some(line));
        }
        let text = "1798761600000,message,ana,,7,\"a \"\"b\"\", c; <d>\"\n0,active,,,0,\n";
        assert_eq!(String::from_utf8(written).unwrap(), text);
        for line in ["", "1,message,ana,,7", "1,shout,ana,,7,a", "x,message,ana,,7,a"] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
    }
}
