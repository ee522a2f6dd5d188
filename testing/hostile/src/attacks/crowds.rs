//! Many connections at once, or one after the other.

use std::time::Duration;

use anyhow::ensure;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Conversation, connect, crowd};
use crate::attack::{Report, Target};

/// How many connections of a storm there are a second.
const STORM_PER_SECOND: u32 = 2_000;

/// How long no answer must come to those who wait for winners, before they count as waiting.
const SETTLE: Duration = Duration::from_millis(200);

/// Connections that send nothing.
pub async fn idle(target: &Target) -> anyhow::Result<Report> {
    let all = crowd(target.address, target.scale.crowd, None).await?;
    target.hold().await;
    Ok(Report { connections: all.len() as u64, ..Report::default() })
}

/// Connections that ask for winners while there is no draw, and then go.
pub async fn waiting(target: &Target) -> anyhow::Result<Report> {
    let mut all = Vec::with_capacity(target.scale.crowd);
    for agency in (1..=50_000_u32).cycle().take(target.scale.crowd) {
        let mut conversation = Conversation::open(target.address).await?;
        // The first answer shows that the server has read the packet.
        conversation.ask(&["hello".to_owned(), format!("WinnersRequest:{agency}")]).await?;
        all.push(conversation);
    }
    sleep(SETTLE).await;
    target.hold().await;
    let mut report = Report::default();
    for mut conversation in all {
        ensure!(conversation.is_silent()?, "an answer to WinnersRequest, without a draw");
        report.add(conversation.report());
    }
    Ok(report)
}

/// Connections that close as soon as they are open, half of them with some bytes of a packet.
pub async fn storm(target: &Target) -> anyhow::Result<Report> {
    target.ready.notify_one();
    let (mut report, mut next) = (Report::default(), Instant::now());
    while !target.stop.is_cancelled() {
        let mut stream = connect(target.address, None).await?;
        report.connections += 1;
        if report.connections % 2 == 0 {
            let _ = stream.write_all(b"StoreBet:1;Ana").await;
            report.bytes += 14;
        }
        drop(stream);
        next += Duration::from_secs(1) / STORM_PER_SECOND;
        sleep_until(next).await;
    }
    Ok(report)
}
