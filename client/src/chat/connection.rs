//! One connection of a participant: sends a packet, receives lines, in bounded time and memory.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use protocol::chat::{ChatRequest, ChatResponse};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest line that is accepted: all names of a day.
const LINE_BYTES_MAX: u64 = 512 * 1024;

/// A connection to an instance.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    /// How long an answer may take.
    answer: Duration,
}

impl Connection {
    pub(super) async fn open(
        address: SocketAddr,
        connect: Duration,
        answer: Duration,
    ) -> anyhow::Result<Self> {
        let stream = timeout(connect, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), answer })
    }

    /// Where this end is.
    pub(super) fn local_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Sends a packet.
    pub(super) async fn send(&mut self, request: &ChatRequest<'_>) -> anyhow::Result<()> {
        let mut line = Vec::new();
        request.write(&mut line);
        self.send_line(&line).await
    }

    /// Sends a line, with its `\n`.
    pub(super) async fn send_line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        Ok(timeout(self.answer, self.stream.get_mut().write_all(line)).await??)
    }

    /// The next line, without its `\n`; `None` if the other side has ended the connection.
    pub(super) async fn line(&mut self, limit: Duration) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
        let read = timeout(limit, bounded.read_until(b'\n', &mut line)).await;
        read.context("wait for an answer")??;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => bail!("a line without an end"),
        }
    }

    /// The next packet, within `limit`.
    pub(super) async fn receive(&mut self, limit: Duration) -> anyhow::Result<ChatResponse> {
        let line = self.line(limit).await?.context("the server has closed the connection")?;
        let response = ChatResponse::parse(&line);
        response.with_context(|| format!("no answer: {:?}", String::from_utf8_lossy(&line)))
    }

    /// Sends a packet, and receives its answer.
    pub(super) async fn ask(&mut self, request: &ChatRequest<'_>) -> anyhow::Result<ChatResponse> {
        ensure!(self.stream.buffer().is_empty(), "bytes before the packet was sent");
        self.send(request).await?;
        self.receive(self.answer).await
    }
}
