//! Clients that keep the server waiting: they do not finish what they send, or do not read.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{connect, crowd};
use crate::hostile::attack::{Signals, Tally, Target};

/// How often each slow writer writes its byte.
const BYTE_EVERY: Duration = Duration::from_millis(500);

/// How often those who never read send what the system takes.
const FILL_EVERY: Duration = Duration::from_millis(20);

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
    const LINES: [&str; 2] = ["AgencyStatus:0\n", "\n"];
    let packets = LINES.concat().repeat(4_096);
    let all = crowd(target.address, target.scale.stalls).await?;
    let mut tally = Tally { connections: all.len() as u64, ..Tally::default() };
    let mut sent = vec![0; all.len()];
    let fill = |sent: &mut [usize]| {
        let mut full = 0;
        for (stream, sent) in all.iter().zip(sent) {
            let written = write_what_fits(stream, packets.as_bytes(), *sent % packets.len());
            *sent += written;
            full += usize::from(written == 0);
        }
        full
    };
    // Until each of them has more to send than the system takes: from then on the server decides
    // how fast they are.
    while fill(&mut sent) < all.len() / 10 * 9 && !signals.stop.is_cancelled() {
        sleep(FILL_EVERY).await;
    }
    let _ = signals.ready.send(());
    while !signals.stop.is_cancelled() {
        fill(&mut sent);
        sleep(FILL_EVERY).await;
    }
    tally.bytes = sent.iter().sum::<usize>() as u64;
    tally.lines = tally.bytes * LINES.len() as u64 / LINES.concat().len() as u64;
    tally.closed =
        all.iter().filter(|stream| stream.take_error().is_ok_and(|error| error.is_some())).count()
            as u64;
    Ok(tally)
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
