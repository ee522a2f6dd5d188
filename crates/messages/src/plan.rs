//! What a group of commands appends to the log.

use std::collections::HashMap;

use protocol::AgencyId;
use protocol::chat::{ChatRefusal, DirectAddress, MessageText, Name};

use crate::limits::{LINES_MAX, MESSAGES_MAX, PARTICIPANTS_MAX};
use crate::line::{Line, LineKind};
use crate::state::{Participant, State, hex_of};

/// What is asked of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A participant joins, or goes on at another instance.
    Join(Join),
    /// A participant says something, to all or to one.
    Send {
        /// Who says it.
        from: Name,
        /// Its number among the messages of its sender, from 1.
        sequence: u64,
        /// To whom it is, if not to all.
        to: Option<Name>,
        /// What is said.
        text: MessageText<'static>,
    },
    /// A participant leaves.
    Leave {
        /// Who leaves.
        name: Name,
        /// Only if this instance still answers for the participant.
        instance: Option<String>,
    },
    /// An operator says something.
    Notice {
        /// To whom it is, if not to all.
        to: Option<Name>,
        /// What is said.
        text: MessageText<'static>,
    },
    /// Something happened. The last word of its subject is not stored again.
    Event {
        /// What it is about: `agency-3`.
        subject: String,
        /// Its word: `closed`.
        word: String,
        /// What people read.
        text: String,
    },
}

/// A participant who joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Who.
    pub name: Name,
    /// The SHA-256 of the key.
    pub key_hash: [u8; 32],
    /// The agency for which the participant speaks.
    pub agency: Option<AgencyId>,
    /// Where private messages are taken straight.
    pub address: DirectAddress,
    /// The instance at which it is.
    pub instance: String,
}

/// What is done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is stored at this position, now or earlier. Of a command that leaves no line, the last
    /// position.
    Stored(u64),
    /// It breaks a rule; the text is for people.
    Refuse(ChatRefusal, String),
}

/// The decisions about one group, and the lines that it appends.
#[derive(Debug)]
pub struct GroupPlan<'s> {
    state: &'s State,
    time: u64,
    /// The participants that the group has changed.
    changed: HashMap<Name, Participant>,
    /// Where the messages are that the group adds.
    positions: HashMap<(Name, u64), u64>,
    /// The last word of each subject of the group's events.
    events: HashMap<String, String>,
    online: u64,
    is_active: bool,
    lines: Vec<Line>,
}

impl State {
    /// Decides a group of commands, at `time`, before any of it is applied.
    #[must_use]
    pub fn plan(&self, time: u64) -> GroupPlan<'_> {
        GroupPlan {
            state: self,
            time,
            changed: HashMap::new(),
            positions: HashMap::new(),
            events: HashMap::new(),
            online: self.view().online,
            is_active: self.is_active(),
            lines: Vec::new(),
        }
    }
}

impl GroupPlan<'_> {
    /// The lines that the group appends.
    #[must_use]
    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    /// Decides the next command of the group.
    pub fn decide(&mut self, command: &Command) -> Decision {
        match command {
            Command::Join(join) => self.join(join),
            Command::Send { from, sequence, to, text } => {
                self.send(from, *sequence, to.as_ref(), text)
            }
            Command::Leave { name, instance } => self.leave(name, instance.as_deref()),
            Command::Notice { to, text } => {
                let mut line = self.line(LineKind::Notice);
                line.to = to.as_ref().map(Name::to_string).unwrap_or_default();
                line.text = text.as_str().to_owned();
                Decision::Stored(self.append(line))
            }
            Command::Event { subject, word, text } => self.event(subject, word, text),
        }
    }

    fn join(&mut self, join: &Join) -> Decision {
        let Join { name, key_hash, agency, address, instance } = join.clone();
        let known = self.participant(&name);
        if known.as_ref().is_some_and(|known| known.key_hash != key_hash) {
            let reason = format!("the name {name} belongs to another key");
            return Decision::Refuse(ChatRefusal::Key, reason);
        }
        let names = self.state.participants.len() + self.changed.len();
        if known.is_none() && (names >= PARTICIPANTS_MAX || self.position() >= LINES_MAX) {
            return Decision::Refuse(ChatRefusal::Name, "no more names can join today".to_owned());
        }
        let (was_online, sent) = known.as_ref().map_or((false, 0), |it| (it.is_online, it.sent));
        let joined = Participant { key_hash, agency, address, instance, is_online: true, sent };
        if known.as_ref() == Some(&joined) {
            return Decision::Stored(self.position());
        }
        let mut line = self.line(if was_online { LineKind::Move } else { LineKind::Join });
        line.from = name.to_string();
        line.to.clone_from(&joined.instance);
        line.sequence = agency.map_or(0, |agency| u64::from(agency.get()));
        line.text = format!("{} {address}", hex_of(&key_hash));
        let position = self.append(line);
        self.changed.insert(name, joined);
        self.online += u64::from(!was_online);
        if !self.is_active && self.state.missing(self.online) == 0 {
            self.is_active = true;
            let line = self.line(LineKind::Active);
            self.append(line);
        }
        Decision::Stored(position)
    }

    fn send(
        &mut self,
        from: &Name,
        sequence: u64,
        to: Option<&Name>,
        text: &MessageText<'_>,
    ) -> Decision {
        let Some(mut sender) = self.participant(from) else {
            return Decision::Refuse(ChatRefusal::Join, format!("{from} has not joined"));
        };
        let next = sender.sent + 1;
        if sequence < next {
            let earlier = self.positions.get(&(from.clone(), sequence)).copied();
            let position = earlier.or_else(|| self.state.position(from, sequence));
            return Decision::Stored(position.unwrap_or_default());
        }
        if sequence > next {
            let reason = format!("message {next} comes next, not {sequence}");
            return Decision::Refuse(ChatRefusal::Gap, reason);
        }
        if let Some(to) = to.filter(|to| self.participant(to).is_none()) {
            return Decision::Refuse(ChatRefusal::To, format!("nobody has the name {to}"));
        }
        if self.position() >= MESSAGES_MAX {
            let reason = format!("the day has {MESSAGES_MAX} lines, which is all it may have");
            return Decision::Refuse(ChatRefusal::Full, reason);
        }
        let mut line = self.line(if to.is_some() { LineKind::Private } else { LineKind::Message });
        line.from = from.to_string();
        line.to = to.map(Name::to_string).unwrap_or_default();
        line.sequence = sequence;
        line.text = text.as_str().to_owned();
        let position = self.append(line);
        sender.sent = sequence;
        self.changed.insert(from.clone(), sender);
        self.positions.insert((from.clone(), sequence), position);
        Decision::Stored(position)
    }

    fn leave(&mut self, name: &Name, instance: Option<&str>) -> Decision {
        let is_here = |known: &Participant| {
            known.is_online && instance.is_none_or(|instance| known.instance == instance)
        };
        let Some(mut participant) = self.participant(name).filter(is_here) else {
            return Decision::Stored(self.position());
        };
        let mut line = self.line(LineKind::Leave);
        line.from = name.to_string();
        participant.is_online = false;
        self.changed.insert(name.clone(), participant);
        self.online -= 1;
        Decision::Stored(self.append(line))
    }

    fn event(&mut self, subject: &str, word: &str, text: &str) -> Decision {
        let last = self.events.get(subject).map(String::as_str);
        if last.or_else(|| self.state.last_event(subject)) == Some(word) {
            return Decision::Stored(self.position());
        }
        self.events.insert(subject.to_owned(), word.to_owned());
        let mut line = self.line(LineKind::Event);
        (line.from, line.to, line.text) = (subject.to_owned(), word.to_owned(), text.to_owned());
        Decision::Stored(self.append(line))
    }

    fn participant(&self, name: &Name) -> Option<Participant> {
        self.changed.get(name).or_else(|| self.state.participant(name)).cloned()
    }

    fn line(&self, kind: LineKind) -> Line {
        Line::new(self.time, kind)
    }

    /// The last position, with the lines of the group.
    fn position(&self) -> u64 {
        self.state.lines() + self.lines.len() as u64
    }

    fn append(&mut self, line: Line) -> u64 {
        self.lines.push(line);
        self.position()
    }
}
