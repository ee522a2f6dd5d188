//! Clients that keep the server waiting: they do not finish what they send, or do not read.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{connect, connect_keeping_little, crowd};
use crate::attack::{Signals, Tally, Target};

/// How often each slow writer writes its byte.
const BYTE_EVERY: Duration = Duration::from_millis(500);

/// How often those who never read send what the system takes.
const FILL_EVERY: Duration = Duration::from_millis(20);

/// How often it is looked whether answers still come: much longer than the next ones of a
/// connection take, which come together.
const STUCK_EVERY: Duration = Duration::from_secs(1);

/// Of how many that stall one has its answers stuck: it takes some hundred lines a connection,
/// and servers refuse only so many in a second.
const STUCK_SHARE: usize = 4;

/// How long bytes may take to be on their way before all of them count as sent.
const SETTLE: Duration = Duration::from_millis(500);

/// A byte of a packet now and then, on each of many connections.
///
/// # Errors
/// A connection could not be made.
pub async fn slow_writers(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let packet = format!("StoreBatch:1:{}", super::bytes::BET.repeat(100));
    let mut all = crowd(target.address, target.scale.stalls).await?;
    let mut tally = Tally { connections: all.len() as u64, ..Tally::default() };
    let _ = signals.ready.send(());
    let pause = BYTE_EVERY / all.len() as u32;
    let mut next = Instant::now();
    for byte in packet.as_bytes() {
        for stream in &mut all {
            if signals.stop.is_cancelled() {
                return Ok(tally);
            }
            tally.bytes += 1;
            tally.closed += u64::from(stream.write_all(&[*byte]).await.is_err());
            next += pause;
            tokio::time::sleep_until(next).await;
        }
    }
    Ok(tally)
}

/// So many bytes of a packet that would be stored, but for its end.
///
/// # Errors
/// A connection could not be made.
pub async fn half_lines(
    target: Target,
    signals: Signals,
    count: usize,
    bytes: usize,
) -> anyhow::Result<Tally> {
    let bets = super::bytes::BET.repeat(bytes / super::bytes::BET.len());
    let half = format!("StoreBatch:1{bets}");
    let (mut all, mut tally) = (Vec::with_capacity(count), Tally::default());
    for _ in 0..count {
        let stream = connect(target.address).await?;
        tally.connections += 1;
        tally.bytes += write_what_fits(&stream, half.as_bytes(), 0) as u64;
        all.push(stream);
    }
    sleep(SETTLE).await;
    let _ = signals.ready.send(());
    signals.stop.cancelled().await;
    tally.closed = all.iter().filter(|stream| has_ended(stream)).count() as u64;
    Ok(tally)
}

/// Lines on and on that are refused, as fast as the server takes them, whose answers nobody reads.
///
/// # Errors
/// A connection could not be made.
pub async fn never_reading(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let all = crowd(target.address, target.scale.stalls).await?;
    let mut flood = Flood::new(all, "AgencyStatus:0\n\n");
    // Until each of them has more to send than the system takes: from then on the server decides
    // how fast they are.
    while flood.fill() < flood.all.len() / 10 * 9 && !signals.stop.is_cancelled() {
        sleep(FILL_EVERY).await;
    }
    Ok(flood.go_on(signals).await)
}

/// The same, until no answer fits its connection any more and the server waits for all of them.
///
/// # Errors
/// A connection could not be made, or the system does not tell what waits in it.
pub async fn stuck_answers(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let count = target.scale.stalls / STUCK_SHARE;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(connect_keeping_little(target.address).await?);
    }
    // An answer that is long for its line: there are only so many lines in a second.
    let mut flood = Flood::new(all, "StoreRows:1;1:;;;;\n");
    let mut before = 0;
    loop {
        flood.fill();
        sleep(STUCK_EVERY).await;
        let unread = flood.unread_answers(target.address)?;
        if (unread > 0 && unread == before) || signals.stop.is_cancelled() {
            return Ok(flood.go_on(signals).await);
        }
        before = unread;
    }
}

/// Connections that send the same lines over and over, and read nothing.
struct Flood {
    all: Vec<TcpStream>,
    /// How many bytes each of them has sent.
    sent: Vec<usize>,
    packets: String,
    bytes_per_line: usize,
}

impl Flood {
    fn new(all: Vec<TcpStream>, lines: &str) -> Self {
        let (sent, packets) = (vec![0; all.len()], lines.repeat(4_096));
        Self { all, sent, packets, bytes_per_line: lines.len() / lines.lines().count() }
    }

    /// Sends what the system takes; says how many connections it took nothing of.
    fn fill(&mut self) -> usize {
        let mut full = 0;
        for (stream, sent) in self.all.iter().zip(&mut self.sent) {
            let start = *sent % self.packets.len();
            let written = write_what_fits(stream, self.packets.as_bytes(), start);
            *sent += written;
            full += usize::from(written == 0);
        }
        full
    }

    /// It is in full swing, and goes on until it is stopped.
    async fn go_on(mut self, signals: Signals) -> Tally {
        let _ = signals.ready.send(());
        while !signals.stop.is_cancelled() {
            self.fill();
            sleep(FILL_EVERY).await;
        }
        let is_gone = |stream: &&TcpStream| stream.take_error().is_ok_and(|error| error.is_some());
        let (connections, closed) = (self.all.len(), self.all.iter().filter(is_gone).count());
        let bytes = self.sent.iter().sum::<usize>();
        Tally {
            connections: connections as u64,
            lines: (bytes / self.bytes_per_line) as u64,
            bytes: bytes as u64,
            closed: closed as u64,
            ..Tally::default()
        }
    }

    /// How many bytes the server at `address` has said to these connections that the system still
    /// keeps on its side.
    ///
    /// # Errors
    /// The system does not tell.
    fn unread_answers(&self, address: SocketAddr) -> anyhow::Result<u64> {
        let ours = self.all.iter().map(TcpStream::local_addr).collect::<Result<_, _>>();
        let ours: HashSet<SocketAddr> = ours.context("tell a connection's address")?;
        let sockets = procfs::net::tcp().context("list the system's connections")?;
        let its = sockets.into_iter().filter(|socket| {
            socket.local_address == address && ours.contains(&socket.remote_address)
        });
        Ok(its.map(|socket| u64::from(socket.tx_queue)).sum())
    }
}

/// Writes from `start` on, over and over, as long as the system takes it; says how much.
fn write_what_fits(stream: &TcpStream, bytes: &[u8], start: usize) -> usize {
    let mut sent = 0;
    while let Some(rest @ [_, ..]) = bytes.get(start + sent..) {
        match stream.try_write(rest) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

/// Whether the server has closed it, perhaps after a word.
fn has_ended(stream: &TcpStream) -> bool {
    let mut said = [0; 1_024];
    loop {
        match stream.try_read(&mut said) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_other_side_could_not_say_is_known_once_the_system_takes_no_more_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect_keeping_little(address).await.unwrap();
        let (other, _) = listener.accept().await.unwrap();
        let flood = Flood::new(vec![stream], "\n");
        assert_eq!(flood.unread_answers(address).unwrap(), 0);
        let said = write_what_fits(&other, &vec![b'x'; 64 * 1024 * 1024], 0) as u64;
        let unread = flood.unread_answers(address).unwrap();
        assert!(unread > 0 && unread <= said, "{unread} of {said}");
        drop(other);
    }
}
