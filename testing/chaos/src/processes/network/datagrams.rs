//! The servers' datagrams on their way: passed on, lost, repeated, late, and forged ones among
//! them.
//!
//! Each server receives on a port of its own and announces to an address of its own on that port, so
//! that all it sends comes here. What is passed on goes to the broadcast address: that reaches the
//! server's socket, and none that is bound to an address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::network_faults::DatagramFaults;
use crate::report::Report;
use harness::rng::Rng;

/// Reaches all sockets of this machine that are bound to a port and no address.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// More than any server sends.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// How many forged datagrams come at once at the most.
const FLOOD_MAX: u64 = 100;

/// Passes on what arrives at `announce_addresses`, the addresses that the servers announce to, until
/// the tasks are dropped.
///
/// # Errors
/// A socket cannot be made.
pub fn relay(
    announce_addresses: &[SocketAddr],
    faults: &DatagramFaults,
    rng: &Rng,
    report: &Report,
) -> anyhow::Result<JoinSet<()>> {
    let forwarder = Forwarder {
        ports: announce_addresses.iter().map(SocketAddr::port).collect(),
        sender: Arc::new(UdpSocket::from_std(sender().context("make a datagram socket")?)?),
        faults: faults.clone(),
        report: report.clone(),
    };
    let mut tasks = JoinSet::new();
    for (address, part) in announce_addresses.iter().zip(1..) {
        let socket = announce_socket(*address).context("receive datagrams")?;
        tasks.spawn(forwarder.clone().pass_on(UdpSocket::from_std(socket)?, rng.fork(part)));
    }
    if faults.has_forger {
        tasks.spawn(forwarder.forge(rng.fork(0)));
    }
    Ok(tasks)
}

fn sender() -> anyhow::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A server has the same port, on every address.
fn announce_socket(address: SocketAddr) -> anyhow::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What all tasks that pass datagrams on share.
#[derive(Debug, Clone)]
struct Forwarder {
    ports: Vec<u16>,
    sender: Arc<UdpSocket>,
    faults: DatagramFaults,
    report: Report,
}

impl Forwarder {
    async fn pass_on(self, from: UdpSocket, mut rng: Rng) {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        // What the system refuses is a datagram less.
        while let Ok(count) = from.recv(&mut bytes).await {
            let datagram = bytes.get(..count).unwrap_or_default();
            for port in self.ports.clone() {
                self.deliver(datagram, port, &mut rng).await;
            }
        }
    }

    async fn deliver(&self, datagram: &[u8], port: u16, rng: &mut Rng) {
        if rng.chance(self.faults.lost) {
            self.report.fault("datagram lost");
            return;
        }
        let copies = if rng.chance(self.faults.repeated) { rng.between(2, 5) } else { 1 };
        if copies > 1 {
            self.report.fault("datagram repeated");
        }
        for _ in 0..copies {
            if rng.chance(self.faults.late) {
                self.report.fault("datagram late");
                let (forwarder, datagram) = (self.clone(), datagram.to_owned());
                let late = rng.millis(1, 1_500);
                tokio::spawn(async move {
                    sleep(late).await;
                    forwarder.send(&datagram, port).await;
                });
            } else {
                self.send(datagram, port).await;
            }
        }
    }

    async fn send(&self, datagram: &[u8], port: u16) {
        let _ = self.sender.send_to(datagram, (LOOPBACK_BROADCAST, port)).await;
    }

    /// Sends hints of a draw that was not held, and datagrams that no server sends.
    async fn forge(self, mut rng: Rng) {
        loop {
            sleep(rng.millis(20, 400)).await;
            let forged: &[u8] = match rng.between(0, 4) {
                0 => b"",
                1 => b"bet_end",
                2 => &[b'x'; 1_500],
                _ => b"bet_ended",
            };
            let copies = if rng.chance(20) { rng.between(1, FLOOD_MAX) } else { 1 };
            self.report.fault("datagrams forged");
            for port in self.ports.clone() {
                for _ in 0..copies {
                    self.send(forged, port).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use harness::udp_port::UdpPort;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(20);
    const FAIR: DatagramFaults =
        DatagramFaults { lost: 0, repeated: 0, late: 0, has_forger: false };

    fn server(port: u16) -> std::net::UdpSocket {
        announce_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap()
    }

    /// How many datagrams a server receives when twenty are on their way to it.
    async fn received(faults: DatagramFaults) -> usize {
        let port = UdpPort::take().unwrap();
        let server = server(port.number().unwrap());
        let sender = Arc::new(UdpSocket::from_std(sender().unwrap()).unwrap());
        let forwarder = Forwarder { ports: Vec::new(), sender, faults, report: Report::default() };
        let mut rng = Rng::new(1);
        for _ in 0..20 {
            forwarder.deliver(b"bet_ended", port.number().unwrap(), &mut rng).await;
        }
        let mut bytes = [0; 16];
        std::iter::from_fn(|| server.recv(&mut bytes).ok()).count()
    }

    #[tokio::test]
    async fn datagrams_arrive_get_lost_and_double() {
        assert_eq!(received(FAIR).await, 20);
        assert_eq!(received(DatagramFaults { lost: 100, ..FAIR }).await, 0);
        assert!((1..20).contains(&received(DatagramFaults { lost: 50, ..FAIR }).await));
        assert!(received(DatagramFaults { repeated: 100, ..FAIR }).await >= 40);
    }

    #[tokio::test]
    async fn every_server_receives_what_one_of_them_sends() {
        let ports = [UdpPort::take().unwrap(), UdpPort::take().unwrap()];
        let ports = ports.each_ref().map(|port| port.number().unwrap());
        let servers = ports.map(|port| UdpSocket::from_std(server(port)).unwrap());
        let announce_addresses = ports.map(|port| SocketAddr::from(([127, 9, 9, 9], port)));
        let report = Report::default();
        let _tasks = relay(&announce_addresses, &FAIR, &Rng::new(1), &report).unwrap();
        servers[0].send_to(b"bet_ended", announce_addresses[0]).await.unwrap();
        let mut bytes = [0; 16];
        for server in &servers {
            let count = timeout(LONG, server.recv(&mut bytes)).await.unwrap().unwrap();
            assert_eq!(bytes[..count], *b"bet_ended");
        }
    }
}
