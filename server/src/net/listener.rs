//! Accepting connections until the shutdown, each served by a task of its own.
//!
//! The caller binds, and owns the signal: what listens and when it ends is not decided here.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use program::socket::{self, KeepAlive};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::connection::{Shared, serve};
use super::limits::{
    ACCEPT_PAUSE, ACCEPT_WARNING_INTERVAL, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_TIME,
    SYSTEM_BUFFER_BYTES,
};
use crate::limits::DRAIN_TIMEOUT;
use crate::store::Store;
use crate::store::messages::MessageStore;

/// The advice if there are as many connections as there may be.
const MORE_FILES: &str = "others wait until some end; for more at once raise the limit of open \
                          files (ulimit -n, nofile) or start another instance";

/// The advice if the system refuses connections for another reason.
const LOOK_AT_THE_SYSTEM: &str = "others wait, and it is tried again; look at this machine's \
                                  memory and at what may forbid it to accept connections";

/// When a silent client counts as gone.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: KEEPALIVE_TIME, interval: KEEPALIVE_INTERVAL, probes: KEEPALIVE_PROBES };

/// Binds a socket to this address. Connections are refused until [`listen`].
///
/// # Errors
/// As the system reports them.
pub fn bind(ip: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Not for port 0: the system could give the same port to two sockets that do not listen yet.
    socket.set_reuse_address(port != 0)?;
    // Connections inherit these options, which saves five system calls for each. If the system
    // refuses them, the server works without them.
    if let Err(error) = socket::prepare(&socket, KEEP_ALIVE) {
        debug!(action = "prepare_socket", result = "fail", error = error.to_string());
    }
    // By default the system buffers several MiB for a client that does not read.
    socket.set_recv_buffer_size(SYSTEM_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SYSTEM_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(ip, port).into())?;
    // Connections in TIME_WAIT do not keep the next start from the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Listens on `socket`; up to `backlog` connections wait in the system until they are accepted. Must
/// be called within a runtime.
///
/// # Errors
/// As the system reports them; another program may listen there since [`bind`].
pub fn listen(socket: Socket, backlog: u16) -> io::Result<TcpListener> {
    socket.listen(i32::from(backlog))?;
    TcpListener::from_std(socket.into())
}

/// Serves up to `connections_max` connections at once until the shutdown; then accepts no more,
/// lets each connection finish what it is answering, and ends within [`DRAIN_TIMEOUT`].
pub async fn run<S: Store, M: MessageStore>(
    listener: TcpListener,
    shared: Shared<S, M>,
    connections_max: usize,
) {
    let (mut connections, shared) = (JoinSet::new(), Arc::new(shared));
    let mut warning = AcceptWarning::default();
    loop {
        let has_room = connections.len() < connections_max;
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, peer)) => {
                    debug!(action = "accept_connections", result = "success", %peer);
                    connections.spawn(serve(stream, peer, Arc::clone(&shared)));
                    if connections.len() == connections_max {
                        warning.log(connections_max, "no more are served at once", MORE_FILES);
                    }
                }
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => {
                    warning.log(connections.len(), &error.to_string(), advice(&error));
                    // Most likely the system has no more of what each connection takes. One that
                    // ends frees some.
                    tokio::select! {
                        Some(_) = connections.join_next() => {}
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
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

/// Warns that no more connections can be accepted, but not with every one that ends and makes room
/// for the next.
#[derive(Debug, Default)]
struct AcceptWarning {
    last: Option<Instant>,
}

impl AcceptWarning {
    fn log(&mut self, open: usize, error: &str, next: &str) {
        if self.last.is_none_or(|last| last.elapsed() >= ACCEPT_WARNING_INTERVAL) {
            self.last = Some(Instant::now());
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
