//! What each attack does. None of them touches the agencies of the ordinary load.

mod conversation;
pub mod crowds;
pub mod datagrams;
pub mod descriptors;
pub mod lines;
pub mod mutations;
mod mutator;
pub mod stalls;
pub mod talkers;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use conversation::Conversation;

use crate::attack::Report;

/// How long a server may take to answer what it answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of what is sent the system may keep.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// A connection that leaves nothing behind on either side when it is dropped: thousands of them
/// would use up the ports. The system keeps at most `receive_bytes` of what comes, if given.
async fn connect(address: SocketAddr, receive_bytes: Option<u32>) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).context("limit what the system keeps")?;
    }
    let stream = timeout(ANSWER_TIMEOUT, socket.connect(address)).await;
    let stream = stream.context("connect")?.context("connect")?;
    stream.set_nodelay(true).context("send at once")?;
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).context("leave nothing behind")?;
    // What the system keeps on this side says nothing about the server.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).context("limit what the system keeps")?;
    Ok(stream)
}

/// `count` connections, as [`connect`] makes them.
async fn crowd(
    address: SocketAddr,
    count: usize,
    receive_bytes: Option<u32>,
) -> anyhow::Result<Vec<TcpStream>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(connect(address, receive_bytes).await?);
    }
    Ok(all)
}

/// Waits for all `tasks`, and adds their reports to `report`.
async fn join(
    mut tasks: JoinSet<anyhow::Result<Report>>,
    mut report: Report,
) -> anyhow::Result<Report> {
    while let Some(joined) = tasks.join_next().await {
        report.add(joined??);
    }
    Ok(report)
}
