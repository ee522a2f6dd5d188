//! Names, keys, texts and addresses of participants, as types whose values are valid.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::limits::{
    DIRECT_ADDRESS_BYTES_MAX, KEY_BYTES_MAX, KEY_BYTES_MIN, MESSAGE_BYTES_MAX,
    PARTICIPANT_BYTES_MAX,
};
use crate::values::InvalidValue;

/// The name of a participant: 1..=30 ASCII letters, digits, `-` and `_`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=PARTICIPANT_BYTES_MAX).contains(&text.len());
        if is_name && text.bytes().all(is_allowed) {
            return Ok(Self(text.into()));
        }
        Err(InvalidValue::new("a name: 1 to 30 letters, digits, '-' or '_'"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What proves that a name is one's own: 8..=64 ASCII letters and digits. It is a secret, so it has
/// no way to be shown but [`Key::as_str`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// # Errors
    /// What a key has to be.
    pub fn new(text: &'a str) -> Result<Self, InvalidValue> {
        let is_long_enough = (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&text.len());
        if is_long_enough && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self(text));
        }
        Err(InvalidValue::new("a key: 8 to 64 letters and digits"))
    }

    /// The key as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// What is stored instead of it: its SHA-256.
    #[must_use]
    pub fn hash(self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a participant says: 1..=1000 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageText<'a>(Cow<'a, str>);

impl<'a> MessageText<'a> {
    /// # Errors
    /// What a text has to be.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, InvalidValue> {
        let text = text.into();
        if (1..=MESSAGE_BYTES_MAX).contains(&text.len()) && !text.chars().any(is_harmful) {
            return Ok(Self(text));
        }
        Err(InvalidValue::new("a text: 1 to 1000 bytes without control characters"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, for longer than the packet.
    #[must_use]
    pub fn into_owned(self) -> MessageText<'static> {
        MessageText(Cow::Owned(self.0.into_owned()))
    }
}

/// Whether a character does something to a terminal or a page instead of being shown: control
/// characters, line and paragraph separators, and those that turn the direction of what follows.
fn is_harmful(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Where a participant takes private messages straight: an address and a port, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectAddress(pub Option<SocketAddr>);

impl FromStr for DirectAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let invalid = InvalidValue::new("an address with its port, as 10.0.0.7:4000, or nothing");
        if text.len() > DIRECT_ADDRESS_BYTES_MAX {
            return Err(invalid);
        }
        let address: SocketAddr = text.parse().map_err(|_| invalid)?;
        let is_usable = address.port() != 0 && !address.ip().is_unspecified();
        if is_usable { Ok(Self(Some(address))) } else { Err(invalid) }
    }
}

impl fmt::Display for DirectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_rule() {
        let long = |bytes| "a".repeat(bytes);
        for (text, is_right) in [("ana", true), ("A-b_9", true), (&long(30), true)] {
            assert_eq!(text.parse::<Name>().is_ok(), is_right, "{text}");
        }
        for text in ["", "a b", "a;b", "a:b", "é", "a\n", &long(31)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        for (text, is_right) in
            [(long(8), true), (long(64), true), (long(7), false), (long(65), false)]
        {
            assert_eq!(Key::new(&text).is_ok(), is_right, "{text}");
        }
        assert!(Key::new("12345678-").is_err());
        assert_eq!(format!("{:?}", Key::new("secret123").unwrap()), "Key(…)");
        for (text, is_right) in [
            ("a;b:c, \"d\" <b>é</b> 🎲", true),
            (&long(1_000), true),
            (&long(1_001), false),
            ("", false),
            ("a\tb", false),
            ("\u{1b}[31m", false),
            ("a\u{85}b", false),
            ("a\u{202e}b", false),
            ("a\u{2028}b", false),
        ] {
            assert_eq!(MessageText::new(text).is_ok(), is_right, "{text:?}");
        }
        for (text, is_right) in [
            ("", true),
            ("10.0.0.7:4000", true),
            ("[::1]:4000", true),
            ("10.0.0.7", false),
            ("10.0.0.7:0", false),
            ("0.0.0.0:7", false),
            ("host:7", false),
        ] {
            let address = text.parse::<DirectAddress>();
            assert_eq!(address.is_ok(), is_right, "{text}");
            assert!(address.is_err() || address.unwrap().to_string() == text);
        }
    }
}
