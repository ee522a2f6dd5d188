//! Clients that keep the server waiting: they do not finish what they send, or do not read.

use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::crowd;
use super::lines::BET;
use crate::attack::{Report, Target};

/// How often each slow writer writes its byte.
const BYTE_EVERY: Duration = Duration::from_millis(500);

/// How often a flood sends what the system takes.
const FILL_EVERY: Duration = Duration::from_millis(20);

/// How many lines a flood repeats, and how often at most it writes them at once.
const FLOOD_LINES: usize = 100;

/// Of how many stalled connections one has its answers stuck.
const STUCK_SHARE: usize = 4;

/// How much the system may keep of answers that get stuck.
const STUCK_RECEIVE_BYTES: u32 = 4 * 1024;

/// The first agency of the connections whose answers get stuck.
const STUCK_FIRST: u32 = 60_001;

/// A server's socket that has so many bytes of answers to send is one whose answers get stuck.
const STUCK_UNSENT_BYTES: u32 = 4 * 1024;

/// A packet of more bytes needs a permit of the server.
const LONG_PACKET_BYTES: usize = 8 * 1024;

/// After what time at the latest the server closes connections whose long packets do not arrive: the
/// 5 s that they have, and a margin.
const LONG_PACKET_END: Duration = Duration::from_secs(6);

/// How long bytes may take to arrive.
const SETTLE: Duration = Duration::from_millis(500);

/// A byte of a packet now and then, on each of many connections.
pub async fn slow_writers(target: &Target) -> anyhow::Result<Report> {
    let packet = format!("StoreBatch:1{}", format!(":{BET}").repeat(100));
    let mut all = crowd(target.address, target.scale.stalls, None).await?;
    let mut report = Report { connections: all.len() as u64, ..Report::default() };
    target.ready.notify_one();
    let pause = BYTE_EVERY / all.len() as u32;
    let mut next = Instant::now();
    for byte in packet.as_bytes() {
        for stream in &mut all {
            if target.stop.is_cancelled() {
                return Ok(report);
            }
            report.bytes += 1;
            report.closed += u64::from(stream.write_all(&[*byte]).await.is_err());
            next += pause;
            sleep_until(next).await;
        }
    }
    Ok(report)
}

/// The first `bytes` bytes of a packet that would be stored if its end came.
pub async fn half_lines(target: &Target, count: usize, bytes: usize) -> anyhow::Result<Report> {
    let half = format!("StoreBatch:1{}", format!(":{BET}").repeat(bytes / BET.len()));
    let half = half.as_bytes().get(..bytes).context("cut a packet")?;
    let all = crowd(target.address, count, None).await?;
    let mut report = Report { connections: count as u64, ..Report::default() };
    for stream in &all {
        report.bytes += stream.try_write(half).unwrap_or(0) as u64;
    }
    sleep(SETTLE).await;
    target.hold().await;
    if bytes > LONG_PACKET_BYTES {
        sleep(LONG_PACKET_END).await;
    }
    report.closed = all.iter().filter(|stream| has_ended(stream)).count() as u64;
    Ok(report)
}

/// Whether the server has closed it, perhaps after an answer.
fn has_ended(stream: &TcpStream) -> bool {
    let mut answer = [0; 1_024];
    loop {
        match stream.try_read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Lines on and on that are refused, as fast as the server takes them, whose answers are not read.
pub async fn never_reading(target: &Target) -> anyhow::Result<Report> {
    let all = crowd(target.address, target.scale.stalls, None).await?;
    let mut flood = Flood::new(all, |_| "AgencyStatus:0\n\n".to_owned());
    flood.fill_all(target).await;
    flood.go_on(target).await;
    Ok(flood.report())
}

/// The same with answers that are long for their lines, of which the system keeps next to nothing.
/// Every fourth line is stored: else the server's delay would keep answers from getting stuck.
pub async fn stuck_answers(target: &Target) -> anyhow::Result<Report> {
    let count = target.scale.stalls / STUCK_SHARE;
    let all = crowd(target.address, count, Some(STUCK_RECEIVE_BYTES)).await?;
    let first = STUCK_FIRST + target.round * count as u32;
    let stored = |place: usize| format!("StoreBet:{};{BET}\n", first + place as u32);
    let refused = "StoreRows:1;1:;;;;\n".repeat(3);
    let mut flood = Flood::new(all, |place| stored(place) + &refused);
    let mut before = None;
    while !target.stop.is_cancelled() {
        flood.fill();
        sleep(SETTLE).await;
        let unsent = unsent_answers(target)?;
        if unsent.len() == count && before.as_ref() == Some(&unsent) {
            break;
        }
        before = Some(unsent);
    }
    flood.go_on(target).await;
    let mut report = flood.report();
    for (place, connection) in flood.0.iter().enumerate() {
        let sent = connection.sent.div_ceil(stored(place).len() + refused.len());
        report.unread.insert(first + place as u32, sent as u64);
    }
    Ok(report)
}

/// How many bytes of answers each of the server's sockets has to send that has many.
fn unsent_answers(target: &Target) -> anyhow::Result<Vec<(u64, u32)>> {
    let sockets = procfs::net::tcp().context("list the system's sockets")?.into_iter();
    let of_server = sockets.filter(|socket| socket.local_address == target.address);
    let unsent = of_server.map(|socket| (socket.inode, socket.tx_queue));
    Ok(unsent.filter(|(_, bytes)| *bytes >= STUCK_UNSENT_BYTES).collect())
}

/// Connections that send the same lines over and over, and read nothing.
pub struct Flood(Vec<Flooding>);

struct Flooding {
    stream: TcpStream,
    lines: String,
    sent: usize,
}

impl Flood {
    /// Connections, and the lines that each repeats.
    pub fn new(all: Vec<TcpStream>, lines: impl Fn(usize) -> String) -> Self {
        let all = all.into_iter().enumerate().map(|(place, stream)| {
            let lines = lines(place).repeat(FLOOD_LINES);
            Flooding { stream, lines, sent: 0 }
        });
        Self(all.collect())
    }

    /// Sends what the system takes; returns how many connections it took nothing of.
    pub fn fill(&mut self) -> usize {
        let mut full = 0;
        for Flooding { stream, lines, sent } in &mut self.0 {
            let before = *sent;
            for _ in 0..FLOOD_LINES {
                let rest = lines.as_bytes().get(*sent % lines.len()..).unwrap_or_default();
                let Ok(written) = stream.try_write(rest) else { break };
                *sent += written;
            }
            full += usize::from(*sent == before);
        }
        full
    }

    /// Sends until nearly all connections have more to send than the system takes: from then on the
    /// server decides how fast they are.
    pub async fn fill_all(&mut self, target: &Target) {
        while self.fill() < self.0.len() / 10 * 9 && !target.stop.is_cancelled() {
            sleep(FILL_EVERY).await;
        }
    }

    /// It is in full effect, and goes on until it is stopped.
    async fn go_on(&mut self, target: &Target) {
        target.ready.notify_one();
        while !target.stop.is_cancelled() {
            self.fill();
            sleep(FILL_EVERY).await;
        }
    }

    /// What it has sent.
    pub fn report(&self) -> Report {
        let mut report = Report { connections: self.0.len() as u64, ..Report::default() };
        for Flooding { stream, lines, sent } in &self.0 {
            report.bytes += *sent as u64;
            report.lines += (sent * lines.lines().count() / lines.len()) as u64;
            report.closed += u64::from(stream.take_error().is_ok_and(|error| error.is_some()));
        }
        report
    }
}
