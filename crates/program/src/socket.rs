//! Socket options that client and server set on their connections.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// When a silent peer counts as gone: after `idle` + `probes` × `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// The silence before the first probe; whole seconds, from 1.
    pub idle: Duration,
    /// The time after each probe; whole seconds, from 1.
    pub interval: Duration,
    /// The number of unanswered probes, from 1.
    pub probes: u32,
}

/// Sets TCP_NODELAY, and keep-alive probes, which detect a peer that vanished without closing.
///
/// # Errors
/// An option cannot be set. The connection can be used nevertheless.
pub fn prepare(stream: &impl AsFd, keep_alive: KeepAlive) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let KeepAlive { idle, interval, probes } = keep_alive;
    let times = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    socket.set_tcp_keepalive(&times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn every_option_is_set() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (idle, interval) = (Duration::from_secs(7), Duration::from_secs(3));
        prepare(&stream, KeepAlive { idle, interval, probes: 2 }).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
    }
}
