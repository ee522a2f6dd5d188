//! Lines out of bytes, however the bytes are cut.
//!
//! Takes bytes and gives frames; whoever calls it does the reading and owns the buffer.
//! Bytes that no `\n` follows are never a line, also when the connection ends after them: a half
//! line would be a torn bet.

use memchr::memchr;

use crate::limits::{HEAD_BYTES, LINE_BYTES_MAX};

/// What stands at the start of the unread bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// A whole line, without its `\n`.
    Line(&'b [u8]),
    /// No line yet: read more.
    Incomplete,
    /// A line over the limit ended here; all of it was discarded but its first
    /// [`HEAD_BYTES`] bytes, which tell what packet it was meant to be.
    TooLong([u8; HEAD_BYTES]),
}

/// A frame, and how many bytes it took from the front of the unread ones.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed<'b> {
    /// The bytes to drop before the next call.
    pub consumed: usize,
    /// What they were.
    pub frame: Frame<'b>,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Framer {
    bytes_max: usize,
    /// How many of the unread bytes are known to hold no `\n`.
    scanned: usize,
    /// The head of the over-long line that is being discarded.
    discarding: Option<[u8; HEAD_BYTES]>,
}

impl Default for Framer {
    /// A framer of packets: lines of up to [`LINE_BYTES_MAX`] bytes.
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl Framer {
    /// A framer of lines of up to `bytes_max` bytes, their `\n` included; less than
    /// [`HEAD_BYTES`] is taken as that, so that a discarded line always has its whole head.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.max(HEAD_BYTES), scanned: 0, discarding: None }
    }

    /// Whether a line has begun that is not whole yet, given the unread bytes.
    #[must_use]
    pub fn is_mid_line(&self, unread: &[u8]) -> bool {
        self.discarding.is_some() || !unread.is_empty()
    }

    /// What stands at the front of `unread`, which must be what was unread at the last call,
    /// less what that call consumed, and whatever was read since.
    pub fn next<'b>(&mut self, unread: &'b [u8]) -> Framed<'b> {
        let fresh = unread.get(self.scanned..).unwrap_or_default();
        let end = memchr(b'\n', fresh).map(|at| self.scanned + at);
        match (self.discarding, end) {
            (Some(head), Some(end)) => self.over_long(head, end),
            (None, Some(end)) if end >= self.bytes_max => self.over_long(head_of(unread), end),
            (None, Some(end)) => {
                self.scanned = 0;
                let line = unread.get(..end).unwrap_or_default();
                Framed { consumed: end + 1, frame: Frame::Line(line) }
            }
            (None, None) if unread.len() < self.bytes_max => {
                self.scanned = unread.len();
                Framed { consumed: 0, frame: Frame::Incomplete }
            }
            (head, None) => {
                self.discarding = head.or_else(|| Some(head_of(unread)));
                self.scanned = 0;
                Framed { consumed: unread.len(), frame: Frame::Incomplete }
            }
        }
    }

    fn over_long<'b>(&mut self, head: [u8; HEAD_BYTES], end: usize) -> Framed<'b> {
        self.discarding = None;
        self.scanned = 0;
        Framed { consumed: end + 1, frame: Frame::TooLong(head) }
    }
}

fn head_of(line: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    for (to, from) in head.iter_mut().zip(line) {
        *to = *from;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = HEAD_BYTES;

    /// The lines of `bytes`; over-long ones come out as `!` and their head.
    fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut framer = Framer::new(MAX);
        let (mut unread, mut lines) = (bytes, Vec::new());
        loop {
            let Framed { consumed, frame } = framer.next(unread);
            unread = &unread[consumed..];
            match frame {
                Frame::Line(line) => lines.push(line.to_vec()),
                Frame::TooLong(head) => lines.push([b"!", &head[..]].concat()),
                Frame::Incomplete => break,
            }
        }
        assert!(unread.len() < MAX, "unread bytes stay under the limit");
        lines
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_with_its_end() {
        let (fits, over) = ("a".repeat(MAX - 1), "b".repeat(MAX));
        let bytes = format!("{fits}\n{over}\nc\n");
        let discarded = format!("!{over}");
        assert_eq!(
            frames(bytes.as_bytes()),
            [fits.into_bytes(), discarded.into_bytes(), b"c".to_vec()]
        );
    }

    #[test]
    fn what_no_line_end_follows_is_no_line() {
        assert_eq!(frames(b"a\nb"), [b"a".to_vec()]);
        let long = "b".repeat(MAX + 1);
        assert_eq!(frames(format!("a\n{long}").as_bytes()), [b"a".to_vec()]);
    }
}
