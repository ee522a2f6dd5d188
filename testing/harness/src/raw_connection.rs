//! A connection whose bytes are given one by one, for whatever a client would not send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to an instance.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawConnection {
    /// Connects to `address`. Every write is a segment of its own.
    ///
    /// # Errors
    /// No program listens there.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let connecting = timeout(ANSWER_TIMEOUT, TcpStream::connect(address));
        let stream = connecting.await.context("connect")?.context("connect")?;
        stream.set_nodelay(true).context("send at once")?;
        Ok(stream.into())
    }

    /// Sends `bytes` as they are.
    ///
    /// # Errors
    /// The connection is gone, or the other side does not read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let sending = timeout(ANSWER_TIMEOUT, self.stream.write_all(bytes.as_ref()));
        sending.await.context("send")?.context("send")
    }

    /// Sends the packet `line`, to which its line end is added, and reads one answer.
    ///
    /// # Errors
    /// As [`RawConnection::send`] and [`RawConnection::line`].
    pub async fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        self.send(format!("{line}\n")).await?;
        self.line().await.with_context(|| format!("answer to {line:.200}"))
    }

    /// Reads one line, and gives it without its end.
    ///
    /// # Errors
    /// No line comes in time, or the connection ends.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return String::from_utf8(line).context("read a line as UTF-8");
            }
            let reading = timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.unread));
            if reading.await.context("wait for a line")?.context("read a line")? == 0 {
                bail!("the connection ended after {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
    }

    /// Says that nothing more will be sent; answers can still be read.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        self.stream.shutdown().await.context("end what is sent")
    }

    /// Whether nothing unread has come so far.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn is_silent(&mut self) -> anyhow::Result<bool> {
        match self.stream.try_read_buf(&mut self.unread) {
            Ok(0) => bail!("the connection has ended"),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(self.unread.is_empty()),
        }
    }

    /// Waits until the other side ends the connection, and gives what came before.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end(mut self) -> anyhow::Result<Vec<u8>> {
        let reading = timeout(ANSWER_TIMEOUT, async {
            while self.stream.read_buf(&mut self.unread).await.is_ok_and(|count| count > 0) {}
        });
        reading.await.context("wait for the end of the connection")?;
        Ok(self.unread)
    }
}

/// A connection that was made with options of its own.
impl From<TcpStream> for RawConnection {
    fn from(stream: TcpStream) -> Self {
        Self { stream, unread: Vec::new() }
    }
}
