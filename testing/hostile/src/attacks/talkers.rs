//! Hostile participants: they forge names, send other people's numbers and texts that do something
//! to a terminal, or ask for everything that was ever said and take none of it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::raw_connection::RawConnection;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{connect, join};
use crate::attack::{Report, Target};

/// How many participants there are who say something before: so many lines a read has at the most,
/// and some more.
const SAID: u64 = 20;

/// Packets of one who has not joined or is somebody else, and the start of each answer.
const FORGED: [(&str, &str); 8] = [
    ("ChatJoin:victim;anotherkey;;", "ChatJoinResponse:2;key "),
    ("ChatSend:1;I am the victim", "ChatSendResponse:2;join "),
    ("ChatPrivate:1;victim;psst", "ChatSendResponse:2;join "),
    ("ChatRead:0", "Error:join "),
    ("ChatSend:18446744073709551615;\u{1b}[2J\u{1b}]0;owned\u{7}", "ChatSendResponse:2;invalid "),
    ("ChatSend:1;\u{202e}txet", "ChatSendResponse:2;invalid "),
    ("ChatJoin:<b>;somebodyskey;;", "ChatJoinResponse:2;name "),
    ("ChatJoin:other;somebodyskey;1;0.0.0.0:0", "ChatJoinResponse:2;invalid "),
];

/// Of how many stalled connections one is a silent reader's: what the server's system keeps of the
/// answers of more would be missing to others.
const SILENT_SHARE: usize = 4;

/// How much the system of a silent reader keeps of its answers: on this machine it would be missing to
/// the server.
const SILENT_RECEIVE_BYTES: u32 = 4 * 1024;

/// A participant by this name, on a connection of its own.
async fn participant(
    target: &Target,
    name: &str,
    receive_bytes: Option<u32>,
) -> anyhow::Result<RawConnection> {
    let mut connection = RawConnection::from(connect(target.address, receive_bytes).await?);
    let answer = connection.ask(&format!("ChatJoin:{name};keyofthevictim;;")).await?;
    ensure!(answer.starts_with("ChatJoinResponse:0;"), "{answer} to a join");
    Ok(connection)
}

/// Forged and malformed packets, as fast as they are answered.
pub async fn forged(target: &Target) -> anyhow::Result<Report> {
    let _victim = participant(target, "victim", None).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..target.scale.stalls {
        let (stream, stop) = (connect(target.address, None).await?, target.stop.clone());
        tasks.spawn(async move {
            let mut report = Report { connections: 1, ..Report::default() };
            let mut connection = RawConnection::from(stream);
            for (packet, start) in FORGED.iter().cycle() {
                let Some(answer) = stop.run_until_cancelled(connection.ask(packet)).await else {
                    break;
                };
                let answer = answer.with_context(|| format!("ask {packet:?}"))?;
                ensure!(answer.starts_with(start), "{answer:?} to {packet:?}, not {start:?}");
                report.lines += 1;
                report.bytes += packet.len() as u64 + 1;
            }
            Ok(report)
        });
    }
    target.ready.notify_one();
    join(tasks, Report::default()).await
}

/// Participants who ask for all lines on and on, and take none of them.
pub async fn never_reading(target: &Target) -> anyhow::Result<Report> {
    let round = target.round;
    let mut speaker = participant(target, &format!("speaker-{round}"), None).await?;
    for sequence in 1..=SAID {
        let answer = speaker.ask(&format!("ChatSend:{sequence};{}", "x".repeat(1_000))).await?;
        ensure!(answer.starts_with("ChatSendResponse:0;"), "{answer} to a message");
    }
    let mut all = Vec::new();
    for who in 0..target.scale.stalls / SILENT_SHARE {
        // Some names for all: joining again is silent.
        let name = format!("silent-{round}-{}", who % 10);
        all.push(participant(target, &name, Some(SILENT_RECEIVE_BYTES)).await?);
    }
    let reads = "ChatRead:0\nChatRead:1\n".repeat(500);
    let mut report = Report { connections: all.len() as u64, ..Report::default() };
    for connection in &mut all {
        // What the server does not take is not sent: it waits for us.
        let sending = connection.send(&reads);
        let sent = timeout(Duration::from_millis(2), sending).await;
        report.lines += u64::from(sent.is_ok()) * 1_000;
        report.bytes += reads.len() as u64;
    }
    target.hold().await;
    Ok(report)
}
