//! What each attack does. None of them touches the agencies of the ordinary load.

pub mod bytes;
pub mod crowds;
pub mod datagrams;
pub mod descriptors;
pub mod mutations;
pub mod questions;
pub mod stalls;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use harness::raw_connection::take_line;

/// How long a server may take to answer what it answers at once.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of what is sent the system may keep.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How much of what comes it may keep, where little is wanted.
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1024;

/// A connection that leaves nothing behind on either side when it is dropped: thousands of them
/// would use up the ports.
pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    connect_by(TcpSocket::new_v4().context("make a socket")?, address).await
}

/// As [`connect`]; the system keeps next to nothing of what comes.
pub async fn connect_keeping_little(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).context("have the system keep little")?;
    connect_by(socket, address).await
}

async fn connect_by(socket: TcpSocket, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = timeout(ANSWER_TIMEOUT, socket.connect(address)).await;
    let stream = stream.context("connect")?.context("connect")?;
    stream.set_nodelay(true).context("send at once")?;
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).context("leave nothing behind")?;
    // What the system keeps on this side says nothing about the server.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).context("have the system keep little")?;
    Ok(stream)
}

/// So many of them.
pub async fn crowd(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(connect(address).await?);
    }
    Ok(all)
}

/// The next line without its end; what comes behind it stays in `unread`. `None` at the end of
/// the connection.
///
/// # Errors
/// It does not come in time.
pub async fn line(stream: &mut TcpStream, unread: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        if let Some(line) = take_line(unread) {
            return Ok(Some(line));
        }
        let read = timeout(ANSWER_TIMEOUT, stream.read_buf(unread)).await;
        // A reset is an end, too.
        if read.context("wait for an answer")?.unwrap_or(0) == 0 {
            return Ok(None);
        }
    }
}
