//! What a connection has read and not executed yet: the bytes, the cursor behind the last packet,
//! and the permit of a long packet.
//!
//! The bytes are allocated when they arrive and freed when all of them are consumed. A packet of up
//! to [`BUFFER_BYTES`] needs nothing else. A longer one needs a permit of the one semaphore that all
//! connections share, and keeps it until the packet is consumed.
//!
//! **Invariant**: without a permit there are at most [`BUFFER_BYTES`].

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use protocol::limits::{HEAD_BYTES, LINE_BYTES_MAX};
use protocol::{Frame, Framed, Framer};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::{BUFFER_BYTES, IDLE_TIMEOUT, LINE_TIMEOUT, LONG_PACKET_TIMEOUT};

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The client has gone, or the server has waited for it for too long.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There was no permit for a long packet in time, or the packet did not arrive in time.
    #[error("busy a packet of more than {BUFFER_BYTES} bytes took too long, connect again")]
    Busy,
}

/// What the unread bytes start with.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole line: [`ReadBuffer::line`].
    Line,
    /// The end of a line that is longer than any packet, and the start of that line.
    TooLong([u8; HEAD_BYTES]),
    /// A part of such a line, without its end.
    PartOfTooLong,
    /// Nothing more: the client has ended its sending side.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct ReadBuffer<'s> {
    bytes: Vec<u8>,
    /// Where the first line starts that is not consumed.
    cursor: usize,
    /// How long the line at the cursor is, with its `\n`, once it has been found.
    found: usize,
    framer: Framer,
    /// Since when the server waits for the rest of the line at the cursor.
    line_since: Option<Instant>,
    long_packets: &'s Semaphore,
    /// The permit of a long packet, and until when that has to be there.
    permit: Option<(SemaphorePermit<'s>, Instant)>,
}

impl<'s> ReadBuffer<'s> {
    /// An empty buffer, whose long packets take their permits from `long_packets`.
    pub fn new(long_packets: &'s Semaphore) -> Self {
        let (bytes, framer, line_since, permit) = (Vec::new(), Framer::default(), None, None);
        Self { bytes, cursor: 0, found: 0, framer, line_since, long_packets, permit }
    }

    /// Reads until there is a line. The one before must be consumed.
    ///
    /// # Errors
    /// The stream's; its client is too slow; a long packet gets no permit in time.
    pub async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Next, ConnectionError> {
        loop {
            let unread = self.bytes.get(self.cursor..).unwrap_or_default();
            let Framed { consumed, frame } = self.framer.next(unread);
            let next = match frame {
                Frame::Line(_) => Some(Next::Line),
                Frame::TooLong(head) => Some(Next::TooLong(head)),
                Frame::Incomplete if consumed > 0 => Some(Next::PartOfTooLong),
                Frame::Incomplete => None,
            };
            self.found = consumed;
            if let Some(next) = next {
                return Ok(next);
            }
            if self.fill(stream).await? == 0 {
                return Ok(Next::End);
            }
        }
    }

    /// The line that was found, without its `\n`.
    pub fn line(&self) -> &[u8] {
        let end = (self.cursor + self.found).saturating_sub(1);
        self.bytes.get(self.cursor..end).unwrap_or_default()
    }

    /// Drops what was found, with the permit that it needed.
    pub fn consume(&mut self) {
        self.cursor += std::mem::take(&mut self.found);
        self.line_since = None;
        if self.cursor == self.bytes.len() {
            (self.bytes, self.cursor) = (Vec::new(), 0);
        } else if self.permit.is_some() {
            // At most BUFFER_BYTES are left: see `poll_read`.
            self.bytes = self.bytes.get(self.cursor..).unwrap_or_default().to_vec();
            self.cursor = 0;
        }
        self.permit = None;
    }

    /// Reads some bytes behind those that are there; says how many. 0 is the end.
    async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<usize, ConnectionError> {
        self.bytes.drain(..self.cursor);
        self.cursor = 0;
        if self.bytes.len() == BUFFER_BYTES && self.permit.is_none() {
            let permit = timeout(LONG_PACKET_TIMEOUT, self.long_packets.acquire()).await;
            let permit = permit.map_err(|_| ConnectionError::Busy)?.expect("it is never closed");
            self.permit = Some((permit, Instant::now() + LONG_PACKET_TIMEOUT));
            self.bytes.reserve_exact(LINE_BYTES_MAX - BUFFER_BYTES);
        }
        if self.framer.is_mid_line(&self.bytes) {
            self.line_since.get_or_insert_with(Instant::now);
        }
        let (deadline, is_long) = match (&self.permit, self.line_since) {
            (Some((_, deadline)), _) => (*deadline, true),
            (None, Some(since)) => (since + LINE_TIMEOUT, false),
            (None, None) => (Instant::now() + IDLE_TIMEOUT, false),
        };
        match timeout_at(deadline, poll_fn(|context| self.poll_read(stream, context))).await {
            Ok(read) => Ok(read?),
            Err(_) if is_long => Err(ConnectionError::Busy),
            Err(late) => Err(ConnectionError::Io(late.into())),
        }
    }

    /// Reads onto the stack first, so that a connection has no buffer while it waits for bytes.
    /// Never reads more than [`BUFFER_BYTES`] at once: so much at most is behind a long packet.
    fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let most = if self.permit.is_some() { LINE_BYTES_MAX } else { BUFFER_BYTES };
        let mut space = [MaybeUninit::uninit(); BUFFER_BYTES];
        let room = (most - self.bytes.len()).min(BUFFER_BYTES);
        let mut read = ReadBuf::uninit(space.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(context, &mut read))?;
        self.bytes.reserve_exact(most - self.bytes.len());
        self.bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}
