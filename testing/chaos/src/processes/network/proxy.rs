//! A proxy before one server: the checker sees what passes, and faults happen to it.
//!
//! Knows lines, and that a packet has one answer, but not what they mean.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::environment::Lottery;
use crate::network_faults::{ConnectionFaults, ConnectionPlan, PacketFault};
use crate::processes::member::Process;
use harness::rng::Rng;

/// How long the answer to a repeated packet is waited for.
const REPEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all proxies of a run share.
#[derive(Debug, Clone)]
pub struct ProxyContext {
    /// What happens to connections.
    pub faults: ConnectionFaults,
    /// The lottery whose packets pass.
    pub lottery: Arc<Lottery<Process>>,
}

/// A running proxy; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Which server it stands before, from 0.
    place: usize,
    /// Where it is, and its other address, which has no listener now.
    ips: [Ipv4Addr; 2],
    port: u16,
    accepting: AbortOnDropHandle<()>,
    shared: ProxyContext,
    rng: Rng,
    moves: u64,
}

impl Proxy {
    /// A proxy before the server at `place`, at the first of its ips, on a free port if `port`
    /// is 0.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start(
        place: usize,
        ips: [Ipv4Addr; 2],
        port: u16,
        shared: ProxyContext,
        rng: Rng,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((ips[0], port)).await.context("listen as a proxy")?;
        let port = listener.local_addr().context("find a proxy's port")?.port();
        let accepting = accept(listener, place, shared.clone(), rng.fork(0));
        let accepting = AbortOnDropHandle::new(tokio::spawn(accepting));
        Ok(Self { place, ips, port, accepting, shared, rng, moves: 0 })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (self.ip(), self.port).into()
    }

    /// Its address without the port.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ips[0]
    }

    /// Where it can be, now or later.
    #[must_use]
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.ips.map(|home| (home, self.port).into())
    }

    /// Whether it is not where it was at first.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        !self.moves.is_multiple_of(2)
    }

    /// Ends all connections, and listens at its other home, and no more at this one.
    ///
    /// # Errors
    /// The address is used by something else.
    pub async fn move_to_other_address(&mut self) -> anyhow::Result<()> {
        self.accepting.abort();
        // The listener is gone when the task has ended.
        let _ = (&mut self.accepting).await;
        self.ips.reverse();
        self.moves += 1;
        let listener = TcpListener::bind(self.address()).await.context("listen as a proxy")?;
        let (shared, rng) = (self.shared.clone(), self.rng.fork(self.moves));
        let accepting = tokio::spawn(accept(listener, self.place, shared, rng));
        self.accepting = AbortOnDropHandle::new(accepting);
        Ok(())
    }
}

async fn accept(listener: TcpListener, place: usize, shared: ProxyContext, rng: Rng) {
    let mut connections = JoinSet::new();
    let mut count = 0;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        count += 1;
        // After the faults nothing happens: those of no fault are the default.
        let is_over = shared.lottery.faults_over.is_cancelled();
        let faults = if is_over { &ConnectionFaults::default() } else { &shared.faults };
        let plan = faults.plan(rng.fork(count));
        connections.spawn(serve(client, place, shared.clone(), plan));
        while connections.try_join_next().is_some() {}
    }
}

/// Passes packets and answers on until the connection ends.
async fn serve(client: TcpStream, place: usize, shared: ProxyContext, plan: ConnectionPlan) {
    if plan.fault == PacketFault::EndAtOnce {
        shared.count(plan.fault);
        return end(&client, plan.reset);
    }
    let Ok(server) = connect(place, &shared).await else {
        // An address without a listener refuses connections: a reset is nearest to that.
        let accepts = shared.faults.accepts_for_dead;
        if accepts {
            shared.lottery.report.fault("connection taken for a dead server");
        }
        return end(&client, !accepts);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if plan.pieces {
        shared.lottery.report.fault("connection in odd pieces");
    }
    if !plan.delay.is_zero() {
        shared.lottery.report.fault("connection slow");
    }
    let (client, server) = (BufReader::new(client), BufReader::new(server));
    let mut connection = ProxiedConnection { place, shared, plan, client, server };
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        let read = connection.client.read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) || !line.ends_with(b"\n") {
            return;
        }
        let is_struck =
            number == connection.plan.at && !connection.shared.lottery.faults_over.is_cancelled();
        let fault = if is_struck { connection.plan.fault } else { PacketFault::None };
        connection.shared.count(fault);
        match connection.pass(&line, fault).await {
            Ok(true) => {}
            Ok(false) => return end(connection.client.get_ref(), connection.plan.reset),
            Err(_) => return end(connection.client.get_ref(), true),
        }
    }
}

/// Connects to the server at `place`, wherever it is now.
async fn connect(place: usize, shared: &ProxyContext) -> io::Result<TcpStream> {
    let address = shared.lottery.registry.address(place).ok_or(io::ErrorKind::NotFound)?;
    TcpStream::connect(address).await
}

/// How a connection ends that is dropped now.
fn end(stream: &TcpStream, reset: bool) {
    if reset {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl ProxyContext {
    fn count(&self, fault: PacketFault) {
        if let Some(name) = fault.name() {
            self.lottery.report.fault(name);
        }
    }
}

/// One connection on its way.
struct ProxiedConnection {
    place: usize,
    shared: ProxyContext,
    plan: ConnectionPlan,
    client: BufReader<TcpStream>,
    server: BufReader<TcpStream>,
}

impl ProxiedConnection {
    /// Passes one packet and its answer on; false if the connection ends with it.
    async fn pass(&mut self, packet: &[u8], fault: PacketFault) -> io::Result<bool> {
        match fault {
            PacketFault::CutPacket => {
                self.server.write_all(self.plan.cut(packet)).await?;
                self.server.shutdown().await?;
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
                self.client.write_all(self.plan.cut(&answer)).await?;
                Ok(false)
            }
            _ => {
                sleep(self.plan.delay).await;
                send(&mut self.client, &answer, &mut self.plan).await?;
                Ok(true)
            }
        }
    }

    /// Delivers one packet; gives the server's answer, none if either side leaves before it is
    /// whole.
    async fn exchange(&mut self, packet: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let asked = self.shared.lottery.checker.asked(self.place, packet);
        send(&mut self.server, packet, &mut self.plan).await?;
        let mut answer = Vec::new();
        tokio::select! {
            read = self.server.read_until(b'\n', &mut answer) => { read?; }
            // A client that waits sends nothing: this is its end. What the server does with the
            // packet, it does all the same.
            _ = self.client.fill_buf() => return Ok(None),
        }
        if !answer.ends_with(b"\n") {
            return Ok(None);
        }
        self.shared.lottery.checker.answered(&asked, &answer);
        Ok(Some(answer))
    }

    /// Takes what comes and says nothing, until the client leaves.
    async fn hang(&mut self) {
        let mut bytes = [0; 4_096];
        while matches!(self.client.read(&mut bytes).await, Ok(1..)) {}
    }

    /// Perhaps delivers the packet once more, some time later, to any server.
    fn repeat(&mut self, packet: &[u8]) {
        let rng = &mut self.plan.rng;
        let is_repeated = rng.chance(self.plan.repeats) && !packet.starts_with(b"WinnersRequest");
        if self.shared.lottery.faults_over.is_cancelled() || !is_repeated {
            return;
        }
        let servers = self.shared.lottery.registry.count() as u64;
        let place = rng.between(0, servers.saturating_sub(1)) as usize;
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
    let asked = shared.lottery.checker.asked(place, &packet);
    shared.lottery.report.fault("packet repeated later");
    stream.write_all(&packet).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer).await?;
    if answer.ends_with(b"\n") {
        shared.lottery.checker.answered(&asked, &answer);
    }
    Ok(())
}

/// Sends `bytes`, perhaps in odd pieces.
async fn send(
    to: &mut BufReader<TcpStream>,
    bytes: &[u8],
    plan: &mut ConnectionPlan,
) -> io::Result<()> {
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
