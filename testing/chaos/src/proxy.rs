//! A proxy before one server: what passes is seen by the witness, and fares as the weather says.
//!
//! Knows lines, and that a packet has one answer; nothing of what they mean.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::roster::Roster;
use super::weather::{Fate, Trouble, Weather};
use super::witness::Witness;
use crate::trial::tally::Tally;
use harness::dice::Dice;

/// How long the answer to a repeated packet is waited for.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all proxies of a run share.
#[derive(Debug, Clone)]
pub struct Air {
    /// What happens to connections.
    pub weather: Weather,
    /// From when on nothing happens any more.
    pub calm: CancellationToken,
    /// What was done to connections.
    pub tally: Tally,
    /// Which answers that led to.
    pub effects: Tally,
    /// Who sees all packets.
    pub witness: Witness,
    /// All servers.
    pub roster: Roster,
}

/// A running proxy; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Which server it stands before, from 0.
    place: usize,
    /// Where it is, and where it is not: nobody listens there.
    homes: [SocketAddr; 2],
    accepting: JoinHandle<()>,
    air: Air,
    dice: Dice,
    moves: u64,
}

impl Proxy {
    /// A proxy before the server at `place`, at the first of its homes, on a free port if `port`
    /// is 0.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start(
        place: usize,
        homes: [Ipv4Addr; 2],
        port: u16,
        air: Air,
        dice: Dice,
    ) -> anyhow::Result<Self> {
        let [home, other] = homes;
        let listener = TcpListener::bind((home, port)).await.context("listen as a proxy")?;
        let address = listener.local_addr().context("tell a proxy's address")?;
        let accepting = tokio::spawn(accept(listener, place, air.clone(), dice.fork(0)));
        let homes = [address, SocketAddr::from((other, address.port()))];
        Ok(Self { place, homes, accepting, air, dice, moves: 0 })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.homes[0]
    }

    /// Where it can be, now or later.
    #[must_use]
    pub fn homes(&self) -> [SocketAddr; 2] {
        self.homes
    }

    /// Ends all connections, and is at its other home from now on; nobody listens at this one.
    ///
    /// # Errors
    /// Somebody else listens there.
    pub async fn move_away(&mut self) -> anyhow::Result<()> {
        self.accepting.abort();
        // The listener is gone when the task has ended.
        let _ = (&mut self.accepting).await;
        self.homes.reverse();
        self.moves += 1;
        let listener = TcpListener::bind(self.address()).await.context("listen as a proxy")?;
        let (air, dice) = (self.air.clone(), self.dice.fork(self.moves));
        self.accepting = tokio::spawn(accept(listener, self.place, air, dice));
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, place: usize, air: Air, dice: Dice) {
    let mut connections = JoinSet::new();
    let mut count = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        count += 1;
        let calm = air.calm.is_cancelled();
        let fate = if calm { Fate::calm() } else { air.weather.fate(dice.fork(count)) };
        connections.spawn(serve(client, place, air.clone(), fate));
        while connections.try_join_next().is_some() {}
    }
}

/// How a connection ended.
enum End {
    /// In order.
    Finish,
    /// With a reset.
    Reset,
}

async fn serve(client: TcpStream, place: usize, air: Air, fate: Fate) {
    let reset = fate.reset;
    if fate.trouble == Trouble::EndAtOnce && !air.calm.is_cancelled() {
        air.count(fate.trouble);
        end(&client, reset);
        return;
    }
    let Ok(server) = connect(place, &air).await else {
        // Where nobody listens, a connection is refused: that is nearest to a reset.
        let accepts = air.weather.accepts_for_dead;
        if accepts {
            air.tally.add("connection taken for a dead server");
        }
        end(&client, !accepts);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ending = SockRef::from(&client).try_clone();
    if fate.pieces {
        air.tally.add("connection in odd pieces");
    }
    if !fate.delay.is_zero() {
        air.tally.add("connection slow");
    }
    let ((client_read, client_write), (server_read, server_write)) =
        (client.into_split(), server.into_split());
    let passing = Passing {
        place,
        air,
        fate,
        client_read: BufReader::new(client_read),
        client_write,
        server_read: BufReader::new(server_read),
        server_write,
    };
    if let (End::Reset, Ok(socket)) = (passing.run().await, ending) {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// Connects to the server at `place`, wherever it is now.
async fn connect(place: usize, air: &Air) -> io::Result<TcpStream> {
    let address = air.roster.address(place).ok_or(io::ErrorKind::NotFound)?;
    TcpStream::connect(address).await
}

fn end(stream: &TcpStream, reset: bool) {
    if reset {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl Air {
    fn count(&self, trouble: Trouble) {
        if let Some(name) = trouble.name() {
            self.tally.add(name);
        }
    }
}

/// One connection on its way.
struct Passing {
    place: usize,
    air: Air,
    fate: Fate,
    client_read: BufReader<OwnedReadHalf>,
    client_write: OwnedWriteHalf,
    server_read: BufReader<OwnedReadHalf>,
    server_write: OwnedWriteHalf,
}

impl Passing {
    async fn run(mut self) -> End {
        let mut line = Vec::new();
        for place in 0.. {
            line.clear();
            let read = self.client_read.read_until(b'\n', &mut line).await;
            if !matches!(read, Ok(1..)) || !line.ends_with(b"\n") {
                return End::Finish;
            }
            let is_struck = place == self.fate.at && !self.air.calm.is_cancelled();
            let trouble = if is_struck { self.fate.trouble } else { Trouble::None };
            self.air.count(trouble);
            match self.pass(&line, trouble).await {
                Ok(true) => {}
                Ok(false) if self.fate.reset => return End::Reset,
                Ok(false) => return End::Finish,
                Err(_) => return End::Reset,
            }
        }
        End::Finish
    }

    /// Passes one packet and its answer on; false if the connection ends with it.
    async fn pass(&mut self, packet: &[u8], trouble: Trouble) -> io::Result<bool> {
        match trouble {
            Trouble::CutPacket => {
                let part = packet.get(..self.fate.cut(packet.len())).unwrap_or_default();
                self.server_write.write_all(part).await?;
                self.server_write.shutdown().await?;
                return Ok(false);
            }
            Trouble::DropRest => {
                self.hang().await;
                return Ok(false);
            }
            _ => {}
        }
        self.repeat(packet);
        sleep(self.fate.delay).await;
        if trouble == Trouble::Double && self.exchange(packet).await?.is_none() {
            return Ok(false);
        }
        let Some(answer) = self.exchange(packet).await? else { return Ok(false) };
        match trouble {
            Trouble::SwallowAnswer => Ok(false),
            Trouble::SwallowAnswerAndHang => {
                self.hang().await;
                Ok(false)
            }
            Trouble::CutAnswer => {
                let part = answer.get(..self.fate.cut(answer.len())).unwrap_or_default();
                self.client_write.write_all(part).await?;
                Ok(false)
            }
            _ => {
                sleep(self.fate.delay).await;
                send(&mut self.client_write, &answer, &mut self.fate).await?;
                Ok(true)
            }
        }
    }

    /// Delivers one packet; gives the server's answer, none if either side leaves before it is
    /// whole.
    async fn exchange(&mut self, packet: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let asked = self.air.witness.asked(self.place, packet);
        send(&mut self.server_write, packet, &mut self.fate).await?;
        let mut answer = Vec::new();
        tokio::select! {
            read = self.server_read.read_until(b'\n', &mut answer) => { read?; }
            // A client that waits sends nothing: this is its end. What the server does with the
            // packet, it does all the same.
            _ = self.client_read.fill_buf() => return Ok(None),
        }
        if !answer.ends_with(b"\n") {
            return Ok(None);
        }
        self.air.witness.answered(&asked, &answer);
        self.air.effects.count_answer(&answer);
        Ok(Some(answer))
    }

    /// Takes what comes and says nothing, until the client leaves.
    async fn hang(&mut self) {
        let mut bytes = [0; 4_096];
        while matches!(self.client_read.read(&mut bytes).await, Ok(1..)) {}
    }

    /// Perhaps delivers the packet once more, some time later, to any server.
    fn repeat(&mut self, packet: &[u8]) {
        let dice = &mut self.fate.dice;
        if self.air.calm.is_cancelled() || !dice.chance(self.fate.repeats) {
            return;
        }
        if packet.starts_with(b"WinnersRequest") {
            return;
        }
        let places = self.air.roster.addresses().len();
        let place = dice.between(0, places.saturating_sub(1) as u64) as usize;
        let later = if dice.chance(80) { dice.millis(0, 60) } else { dice.millis(60, 3_000) };
        let (air, packet) = (self.air.clone(), packet.to_owned());
        tokio::spawn(async move {
            sleep(later).await;
            let _ = timeout(REPEAT_TIMEOUT, repeat(air, place, packet)).await;
        });
    }
}

async fn repeat(air: Air, place: usize, packet: Vec<u8>) -> io::Result<()> {
    let mut stream = connect(place, &air).await?;
    let asked = air.witness.asked(place, &packet);
    air.tally.add("packet repeated later");
    stream.write_all(&packet).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer).await?;
    if answer.ends_with(b"\n") {
        air.witness.answered(&asked, &answer);
    }
    Ok(())
}

/// Sends `bytes`, perhaps in odd pieces.
async fn send(to: &mut OwnedWriteHalf, bytes: &[u8], fate: &mut Fate) -> io::Result<()> {
    if !fate.pieces {
        return to.write_all(bytes).await;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if bytes.len() > 400 { 300 } else { 9 };
        let count = (fate.dice.between(1, most) as usize).min(rest.len());
        let (piece, after) = rest.split_at(count);
        to.write_all(piece).await?;
        tokio::task::yield_now().await;
        rest = after;
    }
    Ok(())
}
