//! Many connections at once, or one after the other.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::{connect, crowd, line};
use crate::attack::{Signals, Tally, Target};

/// How many connections of a storm there are a second.
const STORM_PER_SECOND: u32 = 2_000;

/// How long an answer to a wait must not come, for the wait to be one.
const SETTLE: Duration = Duration::from_millis(200);

/// Connections that say nothing.
///
/// # Errors
/// A connection could not be made.
pub async fn idle(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let all = crowd(target.address, target.scale.crowd).await?;
    let _ = signals.ready.send(());
    signals.stop.cancelled().await;
    Ok(Tally { connections: all.len() as u64, ..Tally::default() })
}

/// Connections that ask for winners while there is no draw, and then go.
///
/// # Errors
/// A connection could not be made, or is answered.
pub async fn waiting(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut all = crowd(target.address, target.scale.crowd).await?;
    let mut tally = Tally { connections: all.len() as u64, ..Tally::default() };
    for (agency, stream) in (1..=50_000_u32).cycle().zip(&mut all) {
        // That it has been read is known from the first answer.
        let packets = format!("hello\nWinnersRequest:{agency}\n");
        stream.write_all(packets.as_bytes()).await.context("ask for winners")?;
        tally.bytes += packets.len() as u64;
        tally.lines += 2;
    }
    for stream in &mut all {
        let answer = line(stream, &mut Vec::new()).await?;
        if answer.as_deref() != Some(b"Error:unknown packet") {
            tally.findings.push(format!("{answer:?} to hello"));
        }
    }
    sleep(SETTLE).await;
    let _ = signals.ready.send(());
    signals.stop.cancelled().await;
    let answered = all.iter().filter(|stream| !is_silent(stream)).count();
    if answered > 0 {
        tally.findings.push(format!("{answered} of those who wait have not been let wait"));
    }
    Ok(tally)
}

/// Whether nothing has come, not even an end.
fn is_silent(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Connections that go as soon as they have come, some of them with a word.
///
/// # Errors
/// A connection could not be made.
pub async fn storm(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let _ = signals.ready.send(());
    let (mut tally, mut next) = (Tally::default(), Instant::now());
    while !signals.stop.is_cancelled() {
        let mut stream = connect(target.address).await?;
        tally.connections += 1;
        if tally.connections % 2 == 0 {
            let _ = stream.write_all(b"StoreBet:1;Ana").await;
            tally.bytes += 14;
        }
        drop(stream);
        next += Duration::from_secs(1) / STORM_PER_SECOND;
        sleep_until(next).await;
    }
    Ok(tally)
}
