//! Framing: cuts a stream of bytes into lines, in whatever parts the bytes arrive. Does no IO; the
//! caller reads, and owns the buffer.
//!
//! **Invariant**: bytes without a `\n` after them are never a line, also at the end of a
//! connection: half a line would be a torn bet.

use memchr::memchr;

use crate::limits::{HEAD_BYTES, LINE_BYTES_MAX};

/// What is at the start of the unread bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// A whole line, without its `\n`.
    Line(&'b [u8]),
    /// No line yet: read more.
    Incomplete,
    /// The end of a line that is too long. It was discarded, except its first [`HEAD_BYTES`] bytes,
    /// which show the type of the packet.
    TooLong([u8; HEAD_BYTES]),
}

/// A frame, and the number of unread bytes that it consumed.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed<'b> {
    /// The bytes to drop before the next call.
    pub consumed: usize,
    /// The frame.
    pub frame: Frame<'b>,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Framer {
    bytes_max: usize,
    /// How many of the unread bytes are known to contain no `\n`.
    scanned: usize,
    /// The start of the line that is being discarded, because it is too long.
    discarding: Option<[u8; HEAD_BYTES]>,
}

impl Default for Framer {
    /// A framer of packets: lines of up to [`LINE_BYTES_MAX`] bytes.
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl Framer {
    /// A framer of lines of up to `bytes_max` bytes with their `\n`, at least [`HEAD_BYTES`], so
    /// that a discarded line always has a whole head.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.max(HEAD_BYTES), scanned: 0, discarding: None }
    }

    /// Whether a line has begun and not ended, given the unread bytes.
    #[must_use]
    pub fn is_mid_line(&self, unread: &[u8]) -> bool {
        self.discarding.is_some() || !unread.is_empty()
    }

    /// The next frame. `unread` must be the unread bytes of the last call without those that it
    /// consumed, and then all that was read since.
    pub fn next<'b>(&mut self, unread: &'b [u8]) -> Framed<'b> {
        let fresh = unread.get(self.scanned..).unwrap_or_default();
        let end = memchr(b'\n', fresh).map(|at| self.scanned + at);
        match (self.discarding, end) {
            (Some(head), Some(end)) => self.too_long(head, end),
            (None, Some(end)) if end >= self.bytes_max => self.too_long(head_of(unread), end),
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

    fn too_long<'b>(&mut self, head: [u8; HEAD_BYTES], end: usize) -> Framed<'b> {
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
