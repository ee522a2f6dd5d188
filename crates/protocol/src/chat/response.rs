//! The packets to participants.

use std::fmt;
use std::io::Write as _;

use super::values::{DirectAddress, Name};
use crate::values::parse_digits;

/// What a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From one participant to all.
    Message,
    /// From one participant to one other.
    Private,
    /// From an operator, to all or to one.
    Notice,
    /// A participant joined.
    Join,
    /// A participant left.
    Leave,
    /// So many have joined that everyone reads the log from now on.
    Active,
    /// Something of the lottery's day: a close, the draw, an instance that comes or goes.
    Event,
    /// A line that is not for the reader, or not for people.
    Hidden,
}

impl Kind {
    /// The kinds, with their words on the wire.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Message, "message"),
        (Self::Private, "private"),
        (Self::Notice, "notice"),
        (Self::Join, "join"),
        (Self::Leave, "leave"),
        (Self::Active, "active"),
        (Self::Event, "event"),
        (Self::Hidden, "hidden"),
    ];

    /// The kind of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == word).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(kind, _)| kind == self);
        f.pad(word.map_or("", |(_, word)| word))
    }
}

/// Why a packet of a participant is refused, so that trying again will not help. The first word of
/// a reason on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRefusal {
    /// The name is bad, or no name may be added.
    Name,
    /// The name belongs to another key.
    Key,
    /// The connection has not joined.
    Join,
    /// The packet or a field of it breaks its rule.
    Invalid,
    /// Messages of the same sender are missing before this one.
    Gap,
    /// Nobody has this name.
    To,
    /// The day has as many lines as it may.
    Full,
}

impl ChatRefusal {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Name, "name"),
        (Self::Key, "key"),
        (Self::Join, "join"),
        (Self::Invalid, "invalid"),
        (Self::Gap, "gap"),
        (Self::To, "to"),
        (Self::Full, "full"),
    ];
}

impl fmt::Display for ChatRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(refusal, _)| refusal == self);
        f.write_str(word.map_or("", |(_, word)| word))
    }
}

/// How a request ended: the status on the wire, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatOutcome<T> {
    /// 0: done, now or earlier.
    Done(T),
    /// 1: the server could not and has done nothing; try again.
    TryAgain(String),
    /// 2: refused; trying again will not help.
    Refused(ChatRefusal, String),
}

/// What a join is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The last position of the log.
    pub position: u64,
    /// How many are online.
    pub online: u64,
    /// How many must still join before anyone reads.
    pub missing: u64,
    /// The sequence of the participant's last message, 0 if there is none.
    pub sequence: u64,
}

/// A line of the log, as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the log, from 1.
    pub position: u64,
    /// When it was stored, in milliseconds since 1970, by the clock of the instance that stored it.
    pub time: u64,
    /// What it is.
    pub kind: Kind,
    /// Who it is from; empty if nobody said it.
    pub from: String,
    /// To whom it is; empty for all.
    pub to: String,
    /// What it says.
    pub text: String,
}

/// A packet to a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatResponse {
    /// `ChatJoinResponse:0;position;online;missing;sequence`, `:1;reason`, `:2;reason`
    Joined(ChatOutcome<Joined>),
    /// `ChatSendResponse:0;position`, `:1;reason`, `:2;reason`; to a private message, too.
    Sent(ChatOutcome<u64>),
    /// `ChatMessage:position;time;kind;from;to;text`
    Message(Message),
    /// `ChatReadResponse:position;online;missing`: ends the lines of a read.
    Read {
        /// Up to where the participant has read now.
        position: u64,
        /// How many are online.
        online: u64,
        /// How many must still join before anyone reads.
        missing: u64,
    },
    /// `ChatWhoResponse:name;name;…`
    Who(Vec<Name>),
    /// `ChatWhereResponse:address;ticket`, both empty if it is unknown.
    Where {
        /// Where the participant takes private messages.
        address: DirectAddress,
        /// Proves to the participant who asks.
        ticket: String,
    },
    /// `ChatLeaveResponse:0`
    Left,
    /// `Error:reason`
    Error(String),
}

impl<T> ChatOutcome<T> {
    fn write(&self, name: &str, out: &mut Vec<u8>, done: impl FnOnce(&T) -> String) {
        let written = match self {
            Self::Done(what) => writeln!(out, "{name}:0;{}", done(what)),
            Self::TryAgain(reason) => writeln!(out, "{name}:1;{reason}"),
            Self::Refused(refusal, reason) => writeln!(out, "{name}:2;{refusal} {reason}"),
        };
        written.expect("writing to a Vec cannot fail");
    }

    fn parse(body: &str, done: impl FnOnce(&str) -> Option<T>) -> Option<Self> {
        let (status, rest) = body.split_once(';')?;
        Some(match status {
            "0" => Self::Done(done(rest)?),
            "1" => Self::TryAgain(rest.to_owned()),
            "2" => {
                let (word, reason) = rest.split_once(' ')?;
                let refusal = ChatRefusal::ALL.iter().find(|(_, other)| *other == word)?.0;
                Self::Refused(refusal, reason.to_owned())
            }
            _ => return None,
        })
    }
}

impl ChatResponse {
    /// Appends the packet with its `\n`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Joined(outcome) => {
                return outcome.write("ChatJoinResponse", out, |it| {
                    format!("{};{};{};{}", it.position, it.online, it.missing, it.sequence)
                });
            }
            Self::Sent(outcome) => {
                return outcome.write("ChatSendResponse", out, u64::to_string);
            }
            Self::Message(Message { position, time, kind, from, to, text }) => {
                writeln!(out, "ChatMessage:{position};{time};{kind};{from};{to};{text}")
            }
            Self::Read { position, online, missing } => {
                writeln!(out, "ChatReadResponse:{position};{online};{missing}")
            }
            Self::Who(names) => {
                let names: Vec<_> = names.iter().map(Name::as_str).collect();
                writeln!(out, "ChatWhoResponse:{}", names.join(";"))
            }
            Self::Where { address, ticket } => {
                writeln!(out, "ChatWhereResponse:{address};{ticket}")
            }
            Self::Left => writeln!(out, "ChatLeaveResponse:0"),
            Self::Error(reason) => writeln!(out, "Error:{reason}"),
        };
        written.expect("writing to a Vec cannot fail");
    }

    /// Reads a line, without its `\n`; `None` if it is no packet to a participant.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (name, body) = str::from_utf8(line).ok()?.split_once(':')?;
        Some(match name {
            "ChatJoinResponse" => Self::Joined(ChatOutcome::parse(body, |rest| {
                let [position, online, missing, sequence] = numbers(rest)?;
                Some(Joined { position, online, missing, sequence })
            })?),
            "ChatSendResponse" => {
                Self::Sent(ChatOutcome::parse(body, |rest| parse_digits(rest, 20))?)
            }
            "ChatMessage" => {
                let mut fields = body.splitn(6, ';');
                let mut next = || fields.next();
                Self::Message(Message {
                    position: parse_digits(next()?, 20)?,
                    time: parse_digits(next()?, 20)?,
                    kind: Kind::of(next()?)?,
                    from: next()?.to_owned(),
                    to: next()?.to_owned(),
                    text: next()?.to_owned(),
                })
            }
            "ChatReadResponse" => {
                let [position, online, missing] = numbers(body)?;
                Self::Read { position, online, missing }
            }
            "ChatWhoResponse" if body.is_empty() => Self::Who(Vec::new()),
            "ChatWhoResponse" => {
                Self::Who(body.split(';').map(|name| name.parse().ok()).collect::<Option<_>>()?)
            }
            "ChatWhereResponse" => {
                let (address, ticket) = body.split_once(';')?;
                Self::Where { address: address.parse().ok()?, ticket: ticket.to_owned() }
            }
            "ChatLeaveResponse" if body == "0" => Self::Left,
            "Error" => Self::Error(body.to_owned()),
            _ => return None,
        })
    }
}

fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Option<Vec<u64>> = text.split(';').map(|part| parse_digits(part, 20)).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for line in [
            "ChatJoinResponse:0;7;3;0;12",
            "ChatJoinResponse:1;the store is away",
            "ChatJoinResponse:2;key the name ana belongs to another key",
            "ChatSendResponse:0;8",
            "ChatSendResponse:2;gap message 3 comes next, not 5",
            "ChatMessage:8;1798761600000;private;ana;leo;a;b: c",
            "ChatMessage:9;1798761600000;hidden;;;",
            "ChatReadResponse:9;3;0",
            "ChatWhoResponse:",
            "ChatWhoResponse:ana;leo",
            "ChatWhereResponse:;",
            "ChatWhereResponse:127.0.0.1:4000;abc",
            "ChatLeaveResponse:0",
            "Error:join first",
        ] {
            let response = ChatResponse::parse(line.as_bytes()).expect(line);
            let mut written = Vec::new();
            response.write(&mut written);
            assert_eq!(written, format!("{line}\n").into_bytes());
        }
        for line in [
            "ChatJoinResponse:0;7;3;0",
            "ChatSendResponse:2;nonsense x",
            "ChatMessage:8;1;shout;a;b;c",
            "ChatReadResponse:9;3",
            "StoreResponse:0",
        ] {
            assert_eq!(ChatResponse::parse(line.as_bytes()), None, "{line}");
        }
    }
}
