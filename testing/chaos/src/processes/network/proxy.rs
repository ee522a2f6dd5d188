//! A proxy before one server: the checker sees what passes, and faults happen to it.
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

use super::connection_faults::{ConnectionFaults, ConnectionPlan, PacketFault};
use crate::answer_checker::AnswerChecker;
use crate::registry::ServerRegistry;
use crate::report::Report;
use harness::rng::Rng;

/// How long the answer to a repeated packet is waited for.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all proxies of a run share.
#[derive(Debug, Clone)]
pub struct ProxyContext {
    /// What happens to connections.
    pub faults: ConnectionFaults,
    /// From when on nothing happens any more.
    pub faults_over: CancellationToken,
    /// What was done to connections, and which answers that led to.
    pub report: Report,
    /// Who sees all packets.
    pub checker: AnswerChecker,
    /// All servers.
    pub registry: ServerRegistry,
}

/// A running proxy; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Which server it stands before, from 0.
    place: usize,
    /// Where it is, and where it is not: nobody listens there.
    homes: [SocketAddr; 2],
    accepting: JoinHandle<()>,
    shared: ProxyContext,
    rng: Rng,
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
        shared: ProxyContext,
        rng: Rng,
    ) -> anyhow::Result<Self> {
        let [home, other] = homes;
        let listener = TcpListener::bind((home, port)).await.context("listen as a proxy")?;
        let address = listener.local_addr().context("tell a proxy's address")?;
        let accepting = tokio::spawn(accept(listener, place, shared.clone(), rng.fork(0)));
        let homes = [address, SocketAddr::from((other, address.port()))];
        Ok(Self { place, homes, accepting, shared, rng, moves: 0 })
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

    /// Whether it is not where it was at first.
    #[must_use]
    pub fn is_away(&self) -> bool {
        !self.moves.is_multiple_of(2)
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
        let (shared, rng) = (self.shared.clone(), self.rng.fork(self.moves));
        self.accepting = tokio::spawn(accept(listener, self.place, shared, rng));
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, place: usize, shared: ProxyContext, rng: Rng) {
    let mut connections = JoinSet::new();
    let mut count = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        count += 1;
        let faults_over = shared.faults_over.is_cancelled();
        let plan = if faults_over {
            ConnectionPlan::without_faults()
        } else {
            shared.faults.plan(rng.fork(count))
        };
        connections.spawn(serve(client, place, shared.clone(), plan));
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

async fn serve(client: TcpStream, place: usize, shared: ProxyContext, plan: ConnectionPlan) {
    let reset = plan.reset;
    if plan.fault == PacketFault::EndAtOnce && !shared.faults_over.is_cancelled() {
        shared.count(plan.fault);
        end(&client, reset);
        return;
    }
    let Ok(server) = connect(place, &shared).await else {
        // Where nobody listens, a connection is refused: that is nearest to a reset.
        let accepts = shared.faults.accepts_for_dead;
        if accepts {
            shared.report.fault("connection taken for a dead server");
        }
        end(&client, !accepts);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ending = SockRef::from(&client).try_clone();
    if plan.pieces {
        shared.report.fault("connection in odd pieces");
    }
    if !plan.delay.is_zero() {
        shared.report.fault("connection slow");
    }
    let ((client_read, client_write), (server_read, server_write)) =
        (client.into_split(), server.into_split());
    let passing = Passing {
        place,
        shared,
        plan,
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
async fn connect(place: usize, shared: &ProxyContext) -> io::Result<TcpStream> {
    let address = shared.registry.address(place).ok_or(io::ErrorKind::NotFound)?;
    TcpStream::connect(address).await
}

fn end(stream: &TcpStream, reset: bool) {
    if reset {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl ProxyContext {
    fn count(&self, fault: PacketFault) {
        if let Some(name) = fault.name() {
            self.report.fault(name);
        }
    }
}

/// One connection on its way.
struct Passing {
    place: usize,
    shared: ProxyContext,
    plan: ConnectionPlan,
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
            let is_struck = place == self.plan.at && !self.shared.faults_over.is_cancelled();
            let fault = if is_struck { self.plan.fault } else { PacketFault::None };
            self.shared.count(fault);
            match self.pass(&line, fault).await {
                Ok(true) => {}
                Ok(false) if self.plan.reset => return End::Reset,
                Ok(false) => return End::Finish,
                Err(_) => return End::Reset,
            }
        }
        End::Finish
    }

    /// Passes one packet and its answer on; false if the connection ends with it.
    async fn pass(&mut self, packet: &[u8], fault: PacketFault) -> io::Result<bool> {
        match fault {
            PacketFault::CutPacket => {
                let part = packet.get(..self.plan.cut(packet.len())).unwrap_or_default();
                self.server_write.write_all(part).await?;
                self.server_write.shutdown().await?;
                return Ok(false);
            }
            PacketFault::DropRest => {
                self.hang().await;
                return Ok(false);
            }
            _ => {}
        }
        self.repeat(packet);
        sleep(self.plan.delay).await;
        if fault == PacketFault::Double && self.exchange(packet).await?.is_none() {
            return Ok(false);
        }
        let Some(answer) = self.exchange(packet).await? else { return Ok(false) };
        match fault {
            PacketFault::SwallowAnswer => Ok(false),
            PacketFault::SwallowAnswerAndHang => {
                self.hang().await;
                Ok(false)
            }
            PacketFault::CutAnswer => {
                let part = answer.get(..self.plan.cut(answer.len())).unwrap_or_default();
                self.client_write.write_all(part).await?;
                Ok(false)
            }
            _ => {
                sleep(self.plan.delay).await;
                send(&mut self.client_write, &answer, &mut self.plan).await?;
                Ok(true)
            }
        }
    }

    /// Delivers one packet; gives the server's answer, none if either side leaves before it is
    /// whole.
    async fn exchange(&mut self, packet: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let asked = self.shared.checker.asked(self.place, packet);
        send(&mut self.server_write, packet, &mut self.plan).await?;
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
        self.shared.checker.answered(&asked, &answer);
        self.shared.report.count_answer(&answer);
        Ok(Some(answer))
    }

    /// Takes what comes and says nothing, until the client leaves.
    async fn hang(&mut self) {
        let mut bytes = [0; 4_096];
        while matches!(self.client_read.read(&mut bytes).await, Ok(1..)) {}
    }

    /// Perhaps delivers the packet once more, some time later, to any server.
    fn repeat(&mut self, packet: &[u8]) {
        let rng = &mut self.plan.rng;
        if self.shared.faults_over.is_cancelled() || !rng.chance(self.plan.repeats) {
            return;
        }
        if packet.starts_with(b"WinnersRequest") {
            return;
        }
        let places = self.shared.registry.addresses().len();
        let place = rng.between(0, places.saturating_sub(1) as u64) as usize;
        let later = if rng.chance(80) { rng.millis(0, 60) } else { rng.millis(60, 3_000) };
        let (shared, packet) = (self.shared.clone(), packet.to_owned());
        tokio::spawn(async move {
            sleep(later).await;
            let _ = timeout(REPEAT_TIMEOUT, repeat(shared, place, packet)).await;
        });
    }
}

async fn repeat(shared: ProxyContext, place: usize, packet: Vec<u8>) -> io::Result<()> {
    let mut stream = connect(place, &shared).await?;
    let asked = shared.checker.asked(place, &packet);
    shared.report.fault("packet repeated later");
    stream.write_all(&packet).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer).await?;
    if answer.ends_with(b"\n") {
        shared.checker.answered(&asked, &answer);
    }
    Ok(())
}

/// Sends `bytes`, perhaps in odd pieces.
async fn send(to: &mut OwnedWriteHalf, bytes: &[u8], plan: &mut ConnectionPlan) -> io::Result<()> {
    if !plan.pieces {
        return to.write_all(bytes).await;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if bytes.len() > 400 { 300 } else { 9 };
        let count = (plan.rng.between(1, most) as usize).min(rest.len());
        let (piece, after) = rest.split_at(count);
        to.write_all(piece).await?;
        tokio::task::yield_now().await;
        rest = after;
    }
    Ok(())
}
