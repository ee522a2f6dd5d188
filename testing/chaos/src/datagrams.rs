//! The servers' datagrams on their way: passed on, lost, repeated, late, and forged ones among
//! them.
//!
//! Each server hears on a port of its own and announces to an address of its own on that port, so
//! that all it sends comes here. What is passed on goes to the broadcast address: that reaches the
//! server's socket, and none that is bound to an address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::trial::tally::Tally;
use harness::dice::Dice;

/// Reaches all sockets of this machine that are bound to a port and no address.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// More than any server sends.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// How many forged datagrams come at once at the most.
const FLOOD_MAX: u64 = 100;

/// What becomes of datagrams, in one run.
#[derive(Debug, Clone)]
pub struct DatagramWeather {
    /// Of a hundred, how many are lost.
    lost: u64,
    /// Of a hundred, how many are delivered again and again.
    repeated: u64,
    /// Of a hundred, how many come late, behind later ones.
    late: u64,
    /// Whether somebody sends datagrams who is no server.
    has_forger: bool,
}

impl DatagramWeather {
    /// The weather of a run: often all arrive, sometimes none.
    #[must_use]
    pub fn of(dice: &mut Dice) -> Self {
        let lost = match dice.between(0, 5) {
            0 | 1 => 0,
            2 => 100,
            _ => dice.between(5, 90),
        };
        let share = |dice: &mut Dice| if dice.chance(40) { dice.between(1, 60) } else { 0 };
        Self { lost, repeated: share(dice), late: share(dice), has_forger: dice.chance(40) }
    }
}

/// Where datagrams pass; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    // Held: dropped, they end.
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Passes on what arrives at `doors`, the addresses that the servers announce to.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn start(
        doors: &[SocketAddr],
        weather: &DatagramWeather,
        dice: &Dice,
        tally: &Tally,
    ) -> anyhow::Result<Self> {
        let sender = UdpSocket::from_std(sender().context("make a datagram socket")?)?;
        let street = Street {
            ports: doors.iter().map(SocketAddr::port).collect(),
            sender: Arc::new(sender),
            weather: weather.clone(),
            tally: tally.clone(),
        };
        let mut tasks = JoinSet::new();
        for (door, part) in doors.iter().zip(1..) {
            let socket = UdpSocket::from_std(door_socket(*door).context("hear datagrams")?)?;
            tasks.spawn(street.clone().pass_on(socket, dice.fork(part)));
        }
        if weather.has_forger {
            tasks.spawn(street.forge(dice.fork(0)));
        }
        Ok(Self { _tasks: tasks })
    }
}

fn sender() -> anyhow::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A server has the same port, on every address.
fn door_socket(door: SocketAddr) -> anyhow::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&door.into())?;
    Ok(socket.into())
}

/// What all who pass datagrams on share.
#[derive(Debug, Clone)]
struct Street {
    ports: Vec<u16>,
    sender: Arc<UdpSocket>,
    weather: DatagramWeather,
    tally: Tally,
}

impl Street {
    async fn pass_on(self, from: UdpSocket, mut dice: Dice) {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        // What the system refuses is a datagram less.
        while let Ok(count) = from.recv(&mut bytes).await {
            let datagram = bytes.get(..count).unwrap_or_default();
            for port in self.ports.clone() {
                self.deliver(datagram, port, &mut dice).await;
            }
        }
    }

    async fn deliver(&self, datagram: &[u8], port: u16, dice: &mut Dice) {
        if dice.chance(self.weather.lost) {
            self.tally.add("datagram lost");
            return;
        }
        let copies = if dice.chance(self.weather.repeated) { dice.between(2, 5) } else { 1 };
        if copies > 1 {
            self.tally.add("datagram repeated");
        }
        for _ in 0..copies {
            if dice.chance(self.weather.late) {
                self.tally.add("datagram late");
                let (street, datagram) = (self.clone(), datagram.to_owned());
                let late = dice.millis(1, 1_500);
                tokio::spawn(async move {
                    sleep(late).await;
                    street.send(&datagram, port).await;
                });
            } else {
                self.send(datagram, port).await;
            }
        }
    }

    async fn send(&self, datagram: &[u8], port: u16) {
        let _ = self.sender.send_to(datagram, (LOOPBACK_BROADCAST, port)).await;
    }

    /// Says that the draw is done when it is not, and things that nobody says.
    async fn forge(self, mut dice: Dice) {
        loop {
            sleep(dice.millis(20, 400)).await;
            let forged: &[u8] = match dice.between(0, 4) {
                0 => b"",
                1 => b"bet_end",
                2 => &[b'x'; 1_500],
                _ => b"bet_ended",
            };
            let copies = if dice.chance(20) { dice.between(1, FLOOD_MAX) } else { 1 };
            self.tally.add("datagrams forged");
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
    const FAIR: DatagramWeather =
        DatagramWeather { lost: 0, repeated: 0, late: 0, has_forger: false };

    fn server(port: u16) -> std::net::UdpSocket {
        door_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap()
    }

    /// How many datagrams a server hears when twenty are on their way to it.
    async fn heard(weather: DatagramWeather) -> usize {
        let port = UdpPort::take().unwrap();
        let server = server(port.number().unwrap());
        let sender = Arc::new(UdpSocket::from_std(sender().unwrap()).unwrap());
        let street = Street { ports: Vec::new(), sender, weather, tally: Tally::default() };
        let mut dice = Dice::new(1);
        for _ in 0..20 {
            street.deliver(b"bet_ended", port.number().unwrap(), &mut dice).await;
        }
        let mut bytes = [0; 16];
        std::iter::from_fn(|| server.recv(&mut bytes).ok()).count()
    }

    #[tokio::test]
    async fn datagrams_arrive_get_lost_and_double() {
        assert_eq!(heard(FAIR).await, 20);
        assert_eq!(heard(DatagramWeather { lost: 100, ..FAIR }).await, 0);
        assert!((1..20).contains(&heard(DatagramWeather { lost: 50, ..FAIR }).await));
        assert!(heard(DatagramWeather { repeated: 100, ..FAIR }).await >= 40);
    }

    #[tokio::test]
    async fn what_one_server_sends_all_of_them_hear() {
        let ports = [UdpPort::take().unwrap(), UdpPort::take().unwrap()];
        let ports = ports.each_ref().map(|port| port.number().unwrap());
        let servers = ports.map(|port| UdpSocket::from_std(server(port)).unwrap());
        let doors = ports.map(|port| SocketAddr::from(([127, 9, 9, 9], port)));
        let _relay = Relay::start(&doors, &FAIR, &Dice::new(1), &Tally::default()).unwrap();
        servers[0].send_to(b"bet_ended", doors[0]).await.unwrap();
        let mut bytes = [0; 16];
        for server in &servers {
            let count = timeout(LONG, server.recv(&mut bytes)).await.unwrap().unwrap();
            assert_eq!(bytes[..count], *b"bet_ended");
        }
    }
}
