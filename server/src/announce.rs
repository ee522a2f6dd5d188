//! Telling the other instances that the draw is done, and hearing it from them.
//!
//! **Invariant**: an announcement is a hint and never a fact. Whoever hears one looks at the
//! files; whoever misses it looks by itself. None is sent before the draw's record is durable: a
//! server of the reference system takes it for a fact.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, broadcast};
use tokio::time::sleep;

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_AT_ONCE, LOOK_PAUSE};

/// What an announcement says, on the wire of the reference system.
const BET_ENDED: &[u8] = b"bet_ended";

/// How instances hint to each other.
pub trait Announcer: Send + Sync + 'static {
    /// Tells all instances to look, perhaps this one too. May be lost on the way.
    ///
    /// # Errors
    /// As the system reports them.
    fn announce(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for an announcement. Those that wait already count as one.
    ///
    /// # Errors
    /// As the system reports them.
    fn hear(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Announcements as datagrams to everybody on the network.
#[derive(Debug)]
pub struct UdpAnnouncer {
    socket: UdpSocket,
    to: SocketAddrV4,
}

impl UdpAnnouncer {
    /// Hears on `to`'s port, on every address, and announces to `to`. Several instances of one
    /// machine may hear on one port. Must be called within a runtime.
    ///
    /// # Errors
    /// As the system reports them.
    pub fn bind(to: SocketAddrV4) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, to.port()).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, to })
    }
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
            // Whoever sends senseless ones takes no more of our time than with the right ones.
            sleep(LOOK_PAUSE).await;
        }
    }
}

fn says_bet_ended(datagram: &[u8], bytes: usize) -> bool {
    datagram.get(..bytes).is_some_and(|text| text.trim_ascii() == BET_ENDED)
}

/// The address to which an instance on `interface` announces, if the system knows one: the
/// broadcast address of the interface; of the first one that has any, for 0.0.0.0.
///
/// # Errors
/// As the system reports them.
pub fn broadcast_address(interface: Ipv4Addr) -> io::Result<Option<Ipv4Addr>> {
    let found = if_addrs::get_if_addrs()?.into_iter().filter_map(|found| match found.addr {
        if_addrs::IfAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    });
    let mut ours = found.filter(|address| interface.is_unspecified() || address.ip == interface);
    Ok(ours.find_map(|address| address.broadcast))
}

/// Announcements within one process, for instances that share it.
#[derive(Debug)]
pub struct MemoryAnnouncer {
    sender: broadcast::Sender<()>,
    receiver: Mutex<broadcast::Receiver<()>>,
}

impl MemoryAnnouncer {
    /// The first of a group of instances.
    #[must_use]
    pub fn first() -> Self {
        Self::of(broadcast::Sender::new(16))
    }

    /// One more of the same group.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(self.sender.clone())
    }

    fn of(sender: broadcast::Sender<()>) -> Self {
        let receiver = Mutex::new(sender.subscribe());
        Self { sender, receiver }
    }
}

impl Announcer for MemoryAnnouncer {
    async fn announce(&self) -> io::Result<()> {
        // Nobody hears it: that is what a datagram into the void does.
        let _ = self.sender.send(());
        Ok(())
    }

    async fn hear(&self) -> io::Result<()> {
        let mut receiver = self.receiver.lock().await;
        match receiver.recv().await {
            Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
            Err(broadcast::error::RecvError::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(20);

    /// What both forms must do.
    async fn hears_what_another_announces(one: impl Announcer, other: impl Announcer) {
        one.announce().await.unwrap();
        timeout(LONG, other.hear()).await.expect("the other hears it").unwrap();
        other.announce().await.unwrap();
        other.announce().await.unwrap();
        timeout(LONG, one.hear()).await.expect("the one hears it").unwrap();
    }

    fn udp_pair() -> (UdpAnnouncer, UdpAnnouncer) {
        let free = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), free);
        (UdpAnnouncer::bind(to).unwrap(), UdpAnnouncer::bind(to).unwrap())
    }

    #[tokio::test]
    async fn by_datagram() {
        let (one, other) = udp_pair();
        hears_what_another_announces(one, other).await;
    }

    #[tokio::test]
    async fn in_memory() {
        let one = MemoryAnnouncer::first();
        let other = one.another();
        hears_what_another_announces(one, other).await;
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
