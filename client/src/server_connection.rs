//! One connection to one instance: sends a packet and receives its answer, in bounded time and
//! memory.
//!
//! Never retries. After an [`ExchangeError`] the owner must drop the connection, so that a late
//! answer cannot be taken for the answer to a later packet.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use program::socket::{self, KeepAlive};
use protocol::{Frame, Framer, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::{ANSWER_READ_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_TIME};

const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: KEEPALIVE_TIME, interval: KEEPALIVE_INTERVAL, probes: KEEPALIVE_PROBES };

/// Why an exchange with an instance failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
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
    TruncatedAnswer,
    /// The instance did not accept the packet, or did not answer it, in time.
    #[error("no answer in {0:?}")]
    AnswerTimeout(Duration),
    /// The answer is longer than this number of bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is not one of this protocol, or not one to this packet.
    #[error("not an answer to the packet: {0}")]
    UnexpectedAnswer(String),
    /// Sending or receiving failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The instance answered that it could not execute the request.
    #[error("the server could not: {0}")]
    Busy(String),
    /// The instance answered `StoreResponse:1`, which does not say why.
    #[error("StoreResponse:1, which means not stored")]
    NotStored,
}

impl ExchangeError {
    /// The error for an answer that does not belong to the packet.
    #[must_use]
    pub fn unexpected(answer: &Response) -> Self {
        let mut line = Vec::new();
        answer.write(&mut line);
        unexpected(line.trim_ascii_end())
    }

    /// What to tell a person if the error lasts.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        matches!(self, Self::NotStored).then_some(
            "the server refuses something: a bet of this packet, an agency number (CLI_ID) that it \
             does not have, an agency that has closed, any bet after the draw, or this form of \
             StoreBatch; the server's log may say which",
        )
    }
}

/// A connection to an instance.
#[derive(Debug)]
pub struct ServerConnection<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl ServerConnection {
    /// Connects to `address` within `limit`.
    ///
    /// # Errors
    /// [`ExchangeError::Connect`] or [`ExchangeError::ConnectTimeout`]; [`ExchangeError::Io`] if
    /// the connection broke at once.
    pub async fn open(address: SocketAddr, limit: Duration) -> Result<Self, ExchangeError> {
        let stream = timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| ExchangeError::ConnectTimeout(limit))?
            .map_err(ExchangeError::Connect)?;
        socket::prepare(&stream, KEEP_ALIVE)?;
        Ok(Self::new(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerConnection<S> {
    /// A connection over an open stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Sends `packet`, a whole line, within `limit`.
    ///
    /// # Errors
    /// The packet was not sent whole. The instance may have received it nevertheless.
    pub async fn send(&mut self, packet: &[u8], limit: Duration) -> Result<(), ExchangeError> {
        if !self.unread.is_empty() {
            let error = "bytes before the packet was sent".to_owned();
            return Err(ExchangeError::UnexpectedAnswer(error));
        }
        timeout(limit, self.stream.write_all(packet))
            .await
            .map_err(|_| ExchangeError::AnswerTimeout(limit))??;
        Ok(())
    }

    /// Receives an answer of up to `bytes_max` bytes. Waits up to `first` for its first bytes and
    /// up to `rest` for each further part.
    ///
    /// # Errors
    /// There is no such answer.
    pub async fn receive(
        &mut self,
        first: Duration,
        rest: Duration,
        bytes_max: usize,
    ) -> Result<Response, ExchangeError> {
        let mut framer = Framer::new(bytes_max);
        let mut limit = first;
        loop {
            let framed = framer.next(&self.unread);
            let consumed = framed.consumed;
            match framed.frame {
                Frame::Line(line) => {
                    let answer = Response::parse(line).map_err(|_| unexpected(line));
                    self.unread.drain(..consumed);
                    return answer;
                }
                // The framer consumes bytes of a line only if the line is too long.
                Frame::Incomplete if consumed == 0 => {}
                _ => return Err(ExchangeError::TooLong(bytes_max)),
            }
            self.read_more(limit).await?;
            limit = rest;
        }
    }

    /// Shuts down the sending side and waits up to `limit` for the instance to close: then it has
    /// read everything that was sent.
    ///
    /// # Errors
    /// The connection broke, or the instance kept it open or answered.
    pub async fn finish(mut self, limit: Duration) -> Result<(), ExchangeError> {
        self.stream.shutdown().await?;
        match self.read_more(limit).await {
            Err(ExchangeError::Closed) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(unexpected(&self.unread)),
        }
    }

    async fn read_more(&mut self, limit: Duration) -> Result<(), ExchangeError> {
        self.unread.reserve(ANSWER_READ_BYTES);
        let read = timeout(limit, self.stream.read_buf(&mut self.unread))
            .await
            .map_err(|_| ExchangeError::AnswerTimeout(limit))??;
        match read {
            0 if self.unread.is_empty() => Err(ExchangeError::Closed),
            0 => Err(ExchangeError::TruncatedAnswer),
            _ => Ok(()),
        }
    }
}

fn unexpected(line: &[u8]) -> ExchangeError {
    ExchangeError::UnexpectedAnswer(crate::bets::quoted(&String::from_utf8_lossy(line)))
}
