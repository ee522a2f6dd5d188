//! The packets of participants.

use std::fmt;
use std::io::Write as _;

use super::response::{ChatOutcome, ChatRefusal, ChatResponse};
use super::values::{DirectAddress, Key, MessageText, Name};
use crate::request::split_type;
use crate::values::{AgencyId, InvalidValue, parse_digits};

/// A packet of a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatRequest<'a> {
    /// `ChatJoin:name;key;agency;address`: the connection speaks for this participant from now on.
    Join {
        /// Who joins.
        name: Name,
        /// Proves it; with a new name, the name belongs to it from now on.
        key: Key<'a>,
        /// The agency for which the participant speaks.
        agency: Option<AgencyId>,
        /// Where the participant takes private messages straight.
        address: DirectAddress,
    },
    /// `ChatSend:sequence;text`: a message to all.
    Send {
        /// The number of the message among those of its sender, from 1.
        sequence: u64,
        /// What is said.
        text: MessageText<'a>,
    },
    /// `ChatPrivate:sequence;to;text`: a message to one participant.
    Private {
        /// As of [`ChatRequest::Send`]; both share one count.
        sequence: u64,
        /// To whom.
        to: Name,
        /// What is said.
        text: MessageText<'a>,
    },
    /// `ChatRead:after`: the lines behind this position, when there are any.
    Read {
        /// The last position that is known.
        after: u64,
    },
    /// `ChatWho:`: who is online.
    Who,
    /// `ChatWhere:name`: where a participant takes private messages straight.
    Where {
        /// Whose address is asked for.
        name: Name,
    },
    /// `ChatLeave:`: the participant leaves.
    Leave,
}

/// The types of packets of participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatPacket {
    /// `ChatJoin:`
    Join,
    /// `ChatSend:`
    Send,
    /// `ChatPrivate:`
    Private,
    /// `ChatRead:`
    Read,
    /// `ChatWho:`
    Who,
    /// `ChatWhere:`
    Where,
    /// `ChatLeave:`
    Leave,
}

/// A packet of a participant that breaks a rule, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatError {
    /// What it is, by its first word.
    pub packet: ChatPacket,
    /// The word of the refusal.
    pub refusal: ChatRefusal,
    /// What is wrong, for people.
    pub reason: String,
}

impl ChatPacket {
    /// The packet's type, from its name.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"ChatJoin" => Self::Join,
            b"ChatSend" => Self::Send,
            b"ChatPrivate" => Self::Private,
            b"ChatRead" => Self::Read,
            b"ChatWho" => Self::Who,
            b"ChatWhere" => Self::Where,
            b"ChatLeave" => Self::Leave,
            _ => return None,
        })
    }

    /// The packet's name, which is before its first `:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "ChatJoin",
            Self::Send => "ChatSend",
            Self::Private => "ChatPrivate",
            Self::Read => "ChatRead",
            Self::Who => "ChatWho",
            Self::Where => "ChatWhere",
            Self::Leave => "ChatLeave",
        }
    }

    /// A refusal of this type of packet: the type's own answer, or `Error:` if it has none.
    #[must_use]
    pub fn refuse(self, refusal: ChatRefusal, reason: impl fmt::Display) -> ChatResponse {
        let reason = reason.to_string();
        match self {
            Self::Join => ChatResponse::Joined(ChatOutcome::Refused(refusal, reason)),
            Self::Send | Self::Private => ChatResponse::Sent(ChatOutcome::Refused(refusal, reason)),
            Self::Read | Self::Who | Self::Where | Self::Leave => {
                ChatResponse::Error(format!("{refusal} {reason}"))
            }
        }
    }
}

impl ChatError {
    /// The error for a line that is too long, from its first bytes; `None` if no participant sent
    /// it.
    #[must_use]
    pub fn too_long(head: &[u8]) -> Option<Self> {
        let packet = ChatPacket::of(split_type(head)?.0)?;
        let reason = "the packet is too long".to_owned();
        Some(Self { packet, refusal: ChatRefusal::Invalid, reason })
    }

    /// The answer to the line.
    #[must_use]
    pub fn response(&self) -> ChatResponse {
        self.packet.refuse(self.refusal, &self.reason)
    }
}

impl<'a> ChatRequest<'a> {
    /// Reads a line, without its `\n`, as a packet of a participant; `None` if it is none, by its
    /// first word.
    ///
    /// # Errors
    /// The rule that it breaks, with the answer.
    pub fn parse(line: &'a [u8]) -> Option<Result<Self, ChatError>> {
        let (name, body) = split_type(line)?;
        let packet = ChatPacket::of(name)?;
        let error = |(refusal, reason)| ChatError { packet, refusal, reason };
        Some(Self::parse_body(packet, body).map_err(error))
    }

    fn parse_body(packet: ChatPacket, body: &'a [u8]) -> Result<Self, (ChatRefusal, String)> {
        let body = str::from_utf8(body).map_err(|_| invalid("the packet is not UTF-8"))?;
        let mut fields = body.splitn(packet.fields(), ';');
        let mut next = || fields.next().ok_or_else(|| invalid("the packet has too few fields"));
        let is_not = |value: InvalidValue| invalid(&format!("not {}", value.allowed()));
        Ok(match packet {
            ChatPacket::Join => {
                let (name, key, agency, address) = (next()?, next()?, next()?, next()?);
                let of = |refusal| move |error: InvalidValue| (refusal, error.to_string());
                Self::Join {
                    name: name.parse().map_err(of(ChatRefusal::Name))?,
                    key: Key::new(key).map_err(of(ChatRefusal::Key))?,
                    agency: match agency {
                        "" => None,
                        agency => Some(agency.parse().map_err(is_not)?),
                    },
                    address: address.parse().map_err(is_not)?,
                }
            }
            ChatPacket::Send => Self::Send { sequence: sequence(next()?)?, text: text(next()?)? },
            ChatPacket::Private => Self::Private {
                sequence: sequence(next()?)?,
                to: next()?.parse().map_err(is_not)?,
                text: text(next()?)?,
            },
            ChatPacket::Read => {
                let after = parse_digits(next()?, 20);
                Self::Read { after: after.ok_or_else(|| invalid("the position is no number"))? }
            }
            ChatPacket::Where => Self::Where { name: next()?.parse().map_err(is_not)? },
            ChatPacket::Who | ChatPacket::Leave if !next()?.is_empty() => {
                return Err(invalid("the packet has a field too many"));
            }
            ChatPacket::Who => Self::Who,
            ChatPacket::Leave => Self::Leave,
        })
    }

    /// The packet's type.
    #[must_use]
    pub fn packet(&self) -> ChatPacket {
        match self {
            Self::Join { .. } => ChatPacket::Join,
            Self::Send { .. } => ChatPacket::Send,
            Self::Private { .. } => ChatPacket::Private,
            Self::Read { .. } => ChatPacket::Read,
            Self::Who => ChatPacket::Who,
            Self::Where { .. } => ChatPacket::Where,
            Self::Leave => ChatPacket::Leave,
        }
    }

    /// Appends the packet with its `\n`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let name = self.packet().name();
        let written = match self {
            Self::Join { name: who, key, agency, address } => {
                let agency = agency.map(|agency| agency.to_string()).unwrap_or_default();
                writeln!(out, "{name}:{who};{};{agency};{address}", key.as_str())
            }
            Self::Send { sequence, text } => writeln!(out, "{name}:{sequence};{}", text.as_str()),
            Self::Private { sequence, to, text } => {
                writeln!(out, "{name}:{sequence};{to};{}", text.as_str())
            }
            Self::Read { after } => writeln!(out, "{name}:{after}"),
            Self::Where { name: who } => writeln!(out, "{name}:{who}"),
            Self::Who | Self::Leave => writeln!(out, "{name}:"),
        };
        written.expect("writing to a Vec cannot fail");
    }
}

impl ChatPacket {
    /// How many fields a packet has; the last one may contain `;`.
    fn fields(self) -> usize {
        match self {
            Self::Join => 4,
            Self::Private => 3,
            Self::Send => 2,
            Self::Read | Self::Who | Self::Where | Self::Leave => 1,
        }
    }
}

fn invalid(reason: &str) -> (ChatRefusal, String) {
    (ChatRefusal::Invalid, reason.to_owned())
}

fn sequence(text: &str) -> Result<u64, (ChatRefusal, String)> {
    let number = parse_digits(text, 20).filter(|number| *number > 0);
    number.ok_or_else(|| invalid("the sequence is no number from 1"))
}

fn text(text: &str) -> Result<MessageText<'_>, (ChatRefusal, String)> {
    MessageText::new(text).map_err(|error| invalid(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ChatRequest<'_>, String> {
        let parsed = ChatRequest::parse(line.as_bytes()).expect("it is one of a participant");
        parsed.map_err(|error| {
            let mut answer = Vec::new();
            error.response().write(&mut answer);
            String::from_utf8(answer).unwrap()
        })
    }

    #[test]
    fn what_is_written_is_read() {
        for line in [
            "ChatJoin:ana;secret123;;",
            "ChatJoin:ana;secret123;7;127.0.0.1:4000",
            "ChatSend:1;hello; all: of \"you\"",
            "ChatPrivate:18446744073709551615;leo;a;b",
            "ChatRead:0",
            "ChatWho:",
            "ChatWhere:leo",
            "ChatLeave:",
        ] {
            let mut written = Vec::new();
            parse(line).unwrap().write(&mut written);
            assert_eq!(written, format!("{line}\n").into_bytes());
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_word() {
        for (line, answer) in [
            ("ChatJoin:a b;secret123;;", "ChatJoinResponse:2;name "),
            ("ChatJoin:ana;secret;;", "ChatJoinResponse:2;key "),
            ("ChatJoin:ana;secret123;0;", "ChatJoinResponse:2;invalid "),
            ("ChatJoin:ana;secret123;;host:1", "ChatJoinResponse:2;invalid "),
            ("ChatJoin:ana", "ChatJoinResponse:2;invalid "),
            ("ChatSend:0;a", "ChatSendResponse:2;invalid "),
            ("ChatSend:1;", "ChatSendResponse:2;invalid "),
            ("ChatSend:1", "ChatSendResponse:2;invalid "),
            ("ChatSend:1;\u{1b}[2J", "ChatSendResponse:2;invalid "),
            ("ChatPrivate:1;;a", "ChatSendResponse:2;invalid "),
            ("ChatRead:", "Error:invalid "),
            ("ChatRead:-1", "Error:invalid "),
            ("ChatWho:x", "Error:invalid "),
            ("ChatWhere:", "Error:invalid "),
        ] {
            let refused = parse(line).unwrap_err();
            assert!(
                refused.starts_with(answer) && refused.len() > answer.len() + 1,
                "{line}: {refused}"
            );
        }
        assert_eq!(ChatRequest::parse(b"StoreBet:1"), None);
        assert_eq!(ChatRequest::parse(b"Chat"), None);
        assert!(ChatError::too_long(b"ChatSend:1;aaaaaaaaaaaaa").is_some());
        assert!(ChatError::too_long(b"StoreRows:1;1:aaaaaaaaaa").is_none());
    }
}
