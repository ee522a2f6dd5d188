//! One free UDP port for all instances of a cluster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::SockRef;

/// A UDP port that no other cluster on this machine gets while this lives.
#[derive(Debug)]
pub struct UdpPort {
    socket: UdpSocket,
}

impl UdpPort {
    /// Takes a free port, and opens it to the sockets of the instances.
    ///
    /// The port is chosen before addresses may be reused: with SO_REUSEADDR set, the system would
    /// also hand out ports that other such sockets have.
    ///
    /// # Errors
    /// There is no free port.
    pub fn take() -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        SockRef::from(&socket).set_reuse_address(true)?;
        // Datagrams reach this socket, too, and are not read here: keep few.
        SockRef::from(&socket).set_recv_buffer_size(0)?;
        Ok(Self { socket })
    }

    /// The port's number.
    ///
    /// # Errors
    /// The system does not say.
    pub fn number(&self) -> io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn instances_share_it_and_others_do_not_get_it() {
        let port = UdpPort::take().unwrap();
        let number = port.number().unwrap();
        assert_ne!(number, UdpPort::take().unwrap().number().unwrap());
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, number));
        assert!(UdpSocket::bind(address).is_err());
        let instance = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        instance.set_reuse_address(true).unwrap();
        instance.bind(&address.into()).unwrap();
    }
}
