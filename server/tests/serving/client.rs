//! The client's end of a connection, over memory or TCP.

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

/// A client that sends bytes and reads lines.
pub struct Client<S>(pub BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).await.unwrap();
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }

    /// The next line; empty at the end of the connection.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a packet and returns the answer.
    pub async fn ask(&mut self, packet: &str) -> String {
        self.send(format!("{packet}\n")).await;
        self.line().await
    }

    /// All that the server sends until it closes the connection.
    pub async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).await.unwrap();
        rest
    }
}
