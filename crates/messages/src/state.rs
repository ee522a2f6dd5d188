//! What is known after the lines so far.

use std::collections::HashMap;

use protocol::AgencyId;
use protocol::chat::{DirectAddress, Name};

use crate::limits::LINES_MAX;
use crate::line::{Line, LineKind};

/// Who a participant is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// The SHA-256 of the key to which the name belongs.
    pub key_hash: [u8; 32],
    /// The agency for which the participant speaks.
    pub agency: Option<AgencyId>,
    /// Where private messages are taken straight.
    pub address: DirectAddress,
    /// The instance that answers the participant.
    pub instance: String,
    /// Whether the participant is online.
    pub is_online: bool,
    /// How many messages of the participant are stored.
    pub sent: u64,
}

/// What everyone may know of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// The last position that is read; 0 while lines are hidden.
    pub position: u64,
    /// How many participants are online.
    pub online: u64,
    /// How many must still join before anyone reads.
    pub missing: u64,
}

/// Who is online, and by which instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Online {
    /// Who.
    pub name: Name,
    /// The instance.
    pub instance: String,
}

/// The state of the log, as a fold over its lines.
#[derive(Debug, Clone)]
pub struct State {
    /// How many participants must be online before anyone reads.
    minimum: u64,
    pub(crate) lines: u64,
    is_active: bool,
    pub(crate) participants: HashMap<Name, Participant>,
    /// The positions of each participant's messages, in their order.
    positions: HashMap<Name, Vec<u32>>,
    pub(crate) online: u64,
    /// The last word of each subject of events.
    events: HashMap<String, String>,
}

impl State {
    /// Nothing is stored yet. Lines are hidden until `minimum` participants have joined; with 0
    /// they never are.
    #[must_use]
    pub fn new(minimum: u64) -> Self {
        Self {
            minimum,
            lines: 0,
            is_active: false,
            participants: HashMap::new(),
            positions: HashMap::new(),
            online: 0,
            events: HashMap::new(),
        }
    }

    /// Forgets everything: the log starts again.
    pub fn reset(&mut self) {
        *self = Self::new(self.minimum);
    }

    /// How many lines there are, which is the last position.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What everyone may know.
    #[must_use]
    pub fn view(&self) -> View {
        let position = if self.is_active() { self.lines } else { 0 };
        View { position, online: self.online, missing: self.missing(self.online) }
    }

    /// Whether everyone reads the log.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.is_active || self.minimum == 0
    }

    /// How many must still join when so many are online.
    pub(crate) fn missing(&self, online: u64) -> u64 {
        if self.is_active() { 0 } else { self.minimum.saturating_sub(online) }
    }

    /// Who has this name.
    #[must_use]
    pub fn participant(&self, name: &Name) -> Option<&Participant> {
        self.participants.get(name)
    }

    /// Where a message of `name` is, by its number from 1.
    #[must_use]
    pub fn position(&self, name: &Name, sequence: u64) -> Option<u64> {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.positions.get(name)?.get(index).map(|position| u64::from(*position))
    }

    /// Who is online, by name.
    #[must_use]
    pub fn online(&self) -> Vec<Online> {
        let online = self.participants.iter().filter(|(_, participant)| participant.is_online);
        let mut online: Vec<_> = online
            .map(|(name, participant)| Online {
                name: name.clone(),
                instance: participant.instance.clone(),
            })
            .collect();
        online.sort_by(|a, b| a.name.cmp(&b.name));
        online
    }

    /// The word of what happened last to the subject of an event.
    #[must_use]
    pub fn last_event(&self, subject: &str) -> Option<&str> {
        self.events.get(subject).map(String::as_str)
    }

    /// Applies the next line. False if it makes no sense: it counts for a position all the same.
    pub fn apply(&mut self, line: &Line) -> bool {
        self.lines += 1;
        let Line { kind, from, to, sequence, text, .. } = line;
        match kind {
            LineKind::Message | LineKind::Private => self.apply_message(from, *sequence),
            LineKind::Join | LineKind::Move => self.apply_join(line),
            LineKind::Leave => {
                let Some(participant) = find(&mut self.participants, from) else { return false };
                let was_online = std::mem::replace(&mut participant.is_online, false);
                self.online -= u64::from(was_online);
                true
            }
            LineKind::Notice => !text.is_empty(),
            LineKind::Active => {
                self.is_active = true;
                true
            }
            LineKind::Event => {
                self.events.insert(from.clone(), to.clone());
                true
            }
        }
    }

    fn apply_message(&mut self, from: &str, sequence: u64) -> bool {
        let Some(participant) = find(&mut self.participants, from) else { return false };
        let is_next = participant.sent + 1 == sequence && self.lines <= LINES_MAX;
        let position = u32::try_from(self.lines).ok().filter(|_| is_next);
        let (Some(position), Ok(name)) = (position, from.parse()) else { return false };
        participant.sent = sequence;
        self.positions.entry(name).or_default().push(position);
        true
    }

    fn apply_join(&mut self, line: &Line) -> bool {
        let (Ok(name), Some((hash, address))) = (line.from.parse(), line.text.split_once(' '))
        else {
            return false;
        };
        let (Some(key_hash), Ok(address)) = (hash_of(hash), address.parse()) else { return false };
        let sent = self.participants.get(&name).map_or(0, |known: &Participant| known.sent);
        let agency = u32::try_from(line.sequence).ok().and_then(AgencyId::new);
        let instance = line.to.clone();
        let joined = Participant { key_hash, agency, address, instance, is_online: true, sent };
        let before = self.participants.insert(name, joined);
        self.online += u64::from(before.is_none_or(|before| !before.is_online));
        true
    }
}

fn find<'p>(
    participants: &'p mut HashMap<Name, Participant>,
    name: &str,
) -> Option<&'p mut Participant> {
    participants.get_mut(&name.parse::<Name>().ok()?)
}

/// The 64 hex digits of a hash.
pub(crate) fn hex_of(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    is_hex.then_some(hash)
}
