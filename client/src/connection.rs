//! One connection to one instance: a packet out, its answer in, each in bounded time and memory.
//!
//! Never tries again: whoever owns it drops it after a [`Fault`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use program::socket::{self, KeepAlive};
use protocol::{Frame, Framer, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::{ANSWER_READ_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_TIME};

/// When a peer that vanished without a word is noticed.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: KEEPALIVE_TIME, interval: KEEPALIVE_INTERVAL, probes: KEEPALIVE_PROBES };

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection was not made.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// The connection was not made in time.
    #[error("connect: no answer in {0:?}")]
    ConnectTimeout(Duration),
    /// The instance closed the connection before the first byte of an answer.
    #[error("the connection was closed without an answer")]
    Closed,
    /// The instance closed the connection within its answer.
    #[error("the connection was closed within the answer")]
    Cut,
    /// Neither took it the packet nor answered it in time.
    #[error("no answer in {0:?}")]
    AnswerTimeout(Duration),
    /// The answer is longer than it can be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is none of this protocol, or none to this packet.
    #[error("not an answer to the packet: {0}")]
    Nonsense(String),
    /// Sending or receiving failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The instance answered that it could not.
    #[error("the server could not: {0}")]
    Busy(String),
    /// The instance answered `StoreResponse:1`, which does not say why.
    #[error("StoreResponse:1, which means not stored")]
    NotStored,
}

impl Fault {
    /// The fault of an answer that is none to the packet that was sent.
    #[must_use]
    pub fn nonsense(answer: &Response) -> Self {
        let mut line = Vec::new();
        answer.write(&mut line);
        nonsense(line.trim_ascii_end())
    }

    /// What a person should know if the fault lasts.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        matches!(self, Self::NotStored).then_some(
            "the server refuses something: a bet of this packet, an agency number (CLI_ID) that it \
             does not have, an agency that has closed, any bet after the draw, or this form of \
             StoreBatch; the server's log may say which",
        )
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to `address` within `limit`.
    ///
    /// # Errors
    /// [`Fault::Connect`] or [`Fault::ConnectTimeout`]; [`Fault::Io`] if it broke at once.
    pub async fn open(address: SocketAddr, limit: Duration) -> Result<Self, Fault> {
        let stream = timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| Fault::ConnectTimeout(limit))?
            .map_err(Fault::Connect)?;
        socket::prepare(&stream, KEEP_ALIVE)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection that is made already, over whatever carries bytes.
    #[must_use]
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends `packet`, a whole line, within `limit`.
    ///
    /// # Errors
    /// The packet was not sent whole; the instance may have it nevertheless.
    pub async fn send(&mut self, packet: &[u8], limit: Duration) -> Result<(), Fault> {
        if !self.unread.is_empty() {
            return Err(Fault::Nonsense("bytes that nobody asked for".to_owned()));
        }
        timeout(limit, self.stream.write_all(packet))
            .await
            .map_err(|_| Fault::AnswerTimeout(limit))??;
        Ok(())
    }

    /// Waits up to `first` for an answer to begin, and up to `rest` for each further piece of it.
    /// It may be `bytes_max` bytes long.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn receive(
        &mut self,
        first: Duration,
        rest: Duration,
        bytes_max: usize,
    ) -> Result<Response, Fault> {
        let mut framer = Framer::new(bytes_max);
        let mut limit = first;
        loop {
            let framed = framer.next(&self.unread);
            let consumed = framed.consumed;
            match framed.frame {
                Frame::Line(line) => {
                    let answer = Response::parse(line).map_err(|_| nonsense(line));
                    self.unread.drain(..consumed);
                    return answer;
                }
                Frame::TooLong(_) => return Err(Fault::TooLong(bytes_max)),
                Frame::Incomplete if consumed > 0 => return Err(Fault::TooLong(bytes_max)),
                Frame::Incomplete => {}
            }
            self.read_more(limit).await?;
            limit = rest;
        }
    }

    /// Says that nothing more will be sent, and waits up to `limit` for the instance to say the
    /// same: then it has read what was sent.
    ///
    /// # Errors
    /// The connection broke, or the instance kept it open or answered.
    pub async fn finish(mut self, limit: Duration) -> Result<(), Fault> {
        self.stream.shutdown().await?;
        match self.read_more(limit).await {
            Err(Fault::Closed) => Ok(()),
            Err(fault) => Err(fault),
            Ok(()) => Err(nonsense(&self.unread)),
        }
    }

    async fn read_more(&mut self, limit: Duration) -> Result<(), Fault> {
        self.unread.reserve(ANSWER_READ_BYTES);
        let read = timeout(limit, self.stream.read_buf(&mut self.unread))
            .await
            .map_err(|_| Fault::AnswerTimeout(limit))??;
        match read {
            0 if self.unread.is_empty() => Err(Fault::Closed),
            0 => Err(Fault::Cut),
            _ => Ok(()),
        }
    }
}

fn nonsense(line: &[u8]) -> Fault {
    Fault::Nonsense(crate::bets::shown(&String::from_utf8_lossy(line)))
}
