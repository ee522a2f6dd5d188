//! Questions, and rows and closes that are refused only after a look at what is stored: as cheap to
//! send as what is no packet, and more to answer.

use anyhow::ensure;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{crowd, line};
use crate::hostile::attack::{Signals, Tally, Target};

/// An agency of which nothing is ever stored.
const AGENCY: u32 = 79_999;

/// As fast as they are answered, each on many connections.
///
/// # Errors
/// A connection could not be made, or is not answered as it should be.
pub async fn make(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut all = JoinSet::new();
    for stream in crowd(target.address, target.scale.stalls).await? {
        all.spawn(ask_on(stream, signals.stop.clone()));
    }
    let _ = signals.ready.send(());
    let mut tally = Tally::default();
    while let Some(joined) = all.join_next().await {
        tally.add(joined??);
    }
    Ok(tally)
}

/// What is asked, and how each answer starts.
fn questions() -> [(String, &'static str); 3] {
    [
        (format!("AgencyStatus:{AGENCY}\n"), "AgencyStatusResponse:0;0000000000000000;open"),
        (
            format!("StoreRows:{AGENCY};99:Ana;Paz;1;2000-01-01;7\n"),
            "StoreRowsResponse:2;0;0000000000000000;gap ",
        ),
        (format!("AgencyClose:{AGENCY};77\n"), "AgencyCloseResponse:2;short "),
    ]
}

async fn ask_on(mut stream: TcpStream, stop: CancellationToken) -> anyhow::Result<Tally> {
    let mut tally = Tally { connections: 1, ..Tally::default() };
    let mut unread = Vec::new();
    for (question, wanted) in questions().iter().cycle() {
        if stop.is_cancelled() || stream.write_all(question.as_bytes()).await.is_err() {
            break;
        }
        tally.lines += 1;
        tally.bytes += question.len() as u64;
        let Some(answer) = line(&mut stream, &mut unread).await? else {
            tally.closed += 1;
            break;
        };
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with(wanted), "{answer:?} to {question:?}");
    }
    Ok(tally)
}
