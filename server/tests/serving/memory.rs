//! Connections in memory, so that time can be paused.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use server::chat::Chat;
use server::lottery::Lottery;
use server::metrics::Metrics;
use server::net::{Shared, Transport, serve};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client;
use crate::scripted::{AGENCIES, Script, Scripted};

/// A client over memory.
pub type Client = client::Client<DuplexStream>;

/// What a connection in memory holds in each direction, in bytes: any packet.
const PIPE_BYTES: usize = 64 * 1024;

/// An instance without a listener.
pub struct Instance {
    shared: Arc<Shared<Scripted, Scripted>>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: CancellationToken,
    /// What its store does.
    pub script: Script,
}

impl Instance {
    /// An instance whose store may store nothing yet.
    pub fn start() -> Self {
        let (store, script) = Scripted::new();
        let (metrics, shutdown) = (Arc::new(Metrics::default()), CancellationToken::new());
        let lottery = Lottery::new(store.clone(), AGENCIES);
        let shared = Arc::new(Shared::new(
            lottery,
            Chat::new(store, "here"),
            Arc::clone(&metrics),
            shutdown.clone(),
        ));
        Self { shared, metrics, shutdown, script }
    }

    /// A client.
    pub fn connect(&self) -> Client {
        self.connect_with_pipe(PIPE_BYTES).0
    }

    /// A client to which so many bytes can be sent that it has not read, and the task that serves
    /// it. The task ends when the server has closed the connection.
    pub fn connect_with_pipe(&self, bytes: usize) -> (Client, JoinHandle<()>) {
        let (ours, theirs) = duplex(bytes);
        let peer = ([127, 0, 0, 1], 1).into();
        let serving = tokio::spawn(serve(Pipe(theirs), peer, Arc::clone(&self.shared)));
        (Client::new(ours), serving)
    }
}

/// A stream in memory, as the server sees it.
struct Pipe(DuplexStream);

impl Transport for Pipe {
    async fn broken(&self) {
        pending().await
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
