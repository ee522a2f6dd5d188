//! Options that both ends of a connection set alike.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// When a peer that is silent counts as gone: after `idle` + `probes` × `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long it is silent before it is asked for a sign of life; whole seconds, from 1.
    pub idle: Duration,
    /// How long after each such probe; whole seconds, from 1.
    pub interval: Duration,
    /// How many probes stay unanswered, from 1.
    pub probes: u32,
}

/// Has a TCP connection send what is written at once, and notice a peer that vanished without a
/// word.
///
/// # Errors
/// The system refused an option; the connection is of use without.
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
