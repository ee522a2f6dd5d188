//! Accepting connections and serving them, until it is time to end.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use program::socket::{self, KeepAlive};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::connection::{self, Shared};
use crate::limits::{
    ACCEPT_PAUSE, CROWD_TOLD_INTERVAL, DRAIN_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES,
    KEEPALIVE_TIME, SYSTEM_BUFFER_BYTES,
};
use crate::lottery::Lottery;
use crate::store::Store;

/// What helps where there are as many connections as there may be.
const MORE_FILES: &str = "others wait until some end; for more at once raise the limit of open \
                          files (ulimit -n, nofile) or start another instance";

/// What helps where the system refuses connections for another reason.
const LOOK_AT_THE_SYSTEM: &str = "others wait, and it is tried again; look at this machine's \
                                  memory and at what may forbid it to accept connections";

/// When a client that is silent counts as gone.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: KEEPALIVE_TIME, interval: KEEPALIVE_INTERVAL, probes: KEEPALIVE_PROBES };

/// A socket that has this address, where connections are refused until [`listen`].
///
/// # Errors
/// As the system reports them.
pub fn bind(ip: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Not yet where any port will do: two that do not listen yet could be given the same.
    socket.set_reuse_address(port != 0)?;
    // Connections inherit these options, which saves five system calls for each. A server works
    // without them, too.
    if let Err(error) = socket::prepare(&socket, KEEP_ALIVE) {
        debug!(action = "prepare_socket", result = "fail", error = error.to_string());
    }
    // Left alone, the system keeps several MiB of what nobody reads.
    socket.set_recv_buffer_size(SYSTEM_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SYSTEM_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(ip, port).into())?;
    // What is left of the connections does not keep the next start from the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// From now on connections to `socket` are accepted; `backlog` of them may wait for that. Must be
/// called within a runtime.
///
/// # Errors
/// As the system reports them; another program may listen there since [`bind`].
pub fn listen(socket: Socket, backlog: u16) -> io::Result<TcpListener> {
    socket.listen(i32::from(backlog))?;
    TcpListener::from_std(socket.into())
}

/// Serves up to `connections_max` connections at once until `shutdown`; then accepts no more,
/// lets each connection finish what it is answering, and ends within [`DRAIN_TIMEOUT`].
pub async fn run<S: Store>(
    listener: TcpListener,
    lottery: Lottery<S>,
    connections_max: usize,
    shutdown: CancellationToken,
) {
    let (mut connections, shared) = (JoinSet::new(), Arc::new(Shared::default()));
    let mut crowd = Crowd::default();
    loop {
        let has_room = connections.len() < connections_max;
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, peer)) => {
                    debug!(action = "accept_connections", result = "success", %peer);
                    let (lottery, shutdown) = (lottery.clone(), shutdown.clone());
                    let shared = Arc::clone(&shared);
                    connections.spawn(connection::serve(stream, peer, lottery, shared, shutdown));
                    if connections.len() == connections_max {
                        crowd.tell(connections_max, "no more are served at once", MORE_FILES);
                    }
                }
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => {
                    crowd.tell(connections.len(), &error.to_string(), advice(&error));
                    pause(&mut connections).await;
                }
            },
        }
    }
    drop(listener);
    let drained =
        timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        let open = connections.len();
        warn!(action = "shutdown", result = "in_progress", open, next = "closes them unanswered");
        connections.shutdown().await;
    }
}

/// The system refused a connection, most likely for want of something that each takes: goes on when
/// one of ours has ended, which frees one, or after a moment.
async fn pause(connections: &mut JoinSet<()>) {
    tokio::select! {
        Some(_) = connections.join_next() => {}
        () = sleep(ACCEPT_PAUSE) => {}
    }
}

/// Tells that there are as many connections as can be, or why the system refuses more: now and
/// then, for while there are it is so with every one that ends.
#[derive(Debug, Default)]
struct Crowd {
    told: Option<Instant>,
}

impl Crowd {
    fn tell(&mut self, open: usize, error: &str, next: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= CROWD_TOLD_INTERVAL) {
            self.told = Some(Instant::now());
            warn!(action = "accept_connections", result = "in_progress", open, error, next);
        }
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// What helps against the refusal of a connection.
fn advice(refused: &io::Error) -> &'static str {
    match Errno::from_io_error(refused) {
        Some(Errno::MFILE | Errno::NFILE) => MORE_FILES,
        _ => LOOK_AT_THE_SYSTEM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn connections_inherit_the_options_of_the_listening_socket() {
        let listener = listen(bind(Ipv4Addr::LOCALHOST, 0).unwrap(), 1).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[test]
    fn more_descriptors_are_advised_where_they_would_help_only() {
        for (error, helps) in [
            (Errno::MFILE, MORE_FILES),
            (Errno::NFILE, MORE_FILES),
            (Errno::NOBUFS, LOOK_AT_THE_SYSTEM),
            (Errno::NOMEM, LOOK_AT_THE_SYSTEM),
            (Errno::PERM, LOOK_AT_THE_SYSTEM),
        ] {
            assert_eq!(advice(&error.into()), helps, "{error}");
        }
    }
}
