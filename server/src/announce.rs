//! Announces the draw to the other instances, and receives their announcements. Reads no file.
//!
//! **Invariant**: an announcement is a hint. An instance that receives one scans the files; one
//! that misses it scans them by itself within a second. No announcement is sent before the draw's
//! record is durable, because a server of the reference system relies on it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_AT_ONCE, LOOK_PAUSE};

/// The datagram of the reference system.
const BET_ENDED: &[u8] = b"bet_ended";

/// Sends and receives announcements.
pub trait Announcer: Send + Sync + 'static {
    /// Sends an announcement to all instances, perhaps to this one, too. It may be lost.
    ///
    /// # Errors
    /// Errors of the system.
    fn announce(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for an announcement. All that were received already count as one.
    ///
    /// # Errors
    /// Errors of the system.
    fn hear(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Announcements as broadcast datagrams.
#[derive(Debug)]
pub struct UdpAnnouncer {
    socket: UdpSocket,
    to: SocketAddrV4,
}

impl UdpAnnouncer {
    /// Receives on the port of `to`, on every address, and sends to `to`. Several instances of one
    /// machine may receive on one port. Must be called within a runtime.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn bind(to: SocketAddrV4) -> io::Result<Self> {
        Ok(Self { socket: bind(to.port())?, to })
    }
}

/// A socket that sends broadcasts, and receives those of `port` on every address. Must be called
/// within a runtime.
///
/// # Errors
/// Errors of the system.
pub fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    UdpSocket::from_std(socket.into())
}

impl Announcer for UdpAnnouncer {
    async fn announce(&self) -> io::Result<()> {
        self.socket.send_to(BET_ENDED, self.to).await.map(|_| ())
    }

    async fn hear(&self) -> io::Result<()> {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        loop {
            self.socket.readable().await?;
            let mut heard = false;
            for _ in 0..DATAGRAMS_AT_ONCE {
                match self.socket.try_recv_from(&mut datagram) {
                    Ok((bytes, _)) => heard |= says_bet_ended(&datagram, bytes),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if heard {
                return Ok(());
            }
            // A flood of other datagrams must not take more time than announcements do.
            sleep(LOOK_PAUSE).await;
        }
    }
}

fn says_bet_ended(datagram: &[u8], bytes: usize) -> bool {
    datagram.get(..bytes).is_some_and(|text| text.trim_ascii() == BET_ENDED)
}

/// The broadcast address of `interface` or, for 0.0.0.0, of the first interface that has one;
/// `None` if the system knows none.
///
/// # Errors
/// Errors of the system.
pub fn broadcast_address(interface: Ipv4Addr) -> io::Result<Option<Ipv4Addr>> {
    let found = if_addrs::get_if_addrs()?.into_iter().filter_map(|found| match found.addr {
        if_addrs::IfAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    });
    let mut ours = found.filter(|address| interface.is_unspecified() || address.ip == interface);
    Ok(ours.find_map(|address| address.broadcast))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(20);

    fn udp_pair() -> (UdpAnnouncer, UdpAnnouncer) {
        let free = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), free);
        (UdpAnnouncer::bind(to).unwrap(), UdpAnnouncer::bind(to).unwrap())
    }

    #[tokio::test]
    async fn an_instance_hears_what_another_one_announces() {
        let (one, other) = udp_pair();
        one.announce().await.unwrap();
        timeout(LONG, other.hear()).await.expect("the other hears it").unwrap();
        other.announce().await.unwrap();
        other.announce().await.unwrap();
        timeout(LONG, one.hear()).await.expect("the one hears it").unwrap();
    }

    #[tokio::test]
    async fn another_datagram_says_nothing() {
        let (one, other) = udp_pair();
        one.socket.send_to(&[b'x'; 1_000], one.to).await.unwrap();
        one.socket.send_to(b"", one.to).await.unwrap();
        one.socket.send_to(b"bet_ended\n", one.to).await.unwrap();
        timeout(LONG, other.hear()).await.expect("the last one is heard").unwrap();
        assert!(!says_bet_ended(b"bet_end", 7) && !says_bet_ended(b"xbet_ended", 10));
    }
}
