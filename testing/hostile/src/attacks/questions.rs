//! Questions, rows and closes that are refused only after a look at what is stored, and what is
//! stored or closed already: as cheap to send as what is no packet, and more to answer.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{connect, crowd, line};
use crate::attack::{Signals, Tally, Target};

/// An agency of which nothing is ever stored.
const EMPTY: u32 = 79_999;

/// An agency that has closed, without a bet.
const CLOSED: u32 = 79_998;

/// An agency that has one bet.
const STORED: u32 = 79_997;

/// The fields of that bet.
const BET: [&str; 5] = ["Ana", "Paz", "1", "2000-01-01", "7"];

/// As fast as they are answered, each on many connections.
///
/// # Errors
/// A connection could not be made, or is not answered as it should be.
pub async fn make(target: Target, signals: Signals) -> anyhow::Result<Tally> {
    let mut tally = prepare(target.address).await?;
    if target.round == 0 {
        tally.stored.push(STORED, BET.map(str::as_bytes));
    }
    let (questions, mut all) = (questions(), JoinSet::new());
    for stream in crowd(target.address, target.scale.stalls).await? {
        let mut asker = Asker::new(stream);
        // Behind the first one nobody waits.
        ensure!(asker.ask(&questions[0]).await?, "a connection ends with its first question");
        all.spawn(asker.ask_on(signals.stop.clone()));
    }
    let _ = signals.ready.send(());
    while let Some(joined) = all.join_next().await {
        tally.add(joined??);
    }
    Ok(tally)
}

/// Stores and closes what is asked about; in later rounds it is there already.
async fn prepare(address: SocketAddr) -> anyhow::Result<Tally> {
    let mut asker = Asker::new(connect(address).await?);
    for question in [close(), rows()] {
        ensure!(asker.ask(&question).await?, "no answer to {question:?}");
    }
    Ok(asker.tally)
}

/// Packets, and how the answer to the last of them, the only one that has any, starts.
type Question = (String, &'static str);

fn close() -> Question {
    (format!("AgencyClose:{CLOSED}\nAgencyClose:{CLOSED};0\n"), "AgencyCloseResponse:0")
}

fn rows() -> Question {
    (format!("StoreRows:{STORED};1:{}\n", BET.join(";")), "StoreRowsResponse:0;1;")
}

/// What is asked, again and again.
fn questions() -> [Question; 5] {
    [
        (format!("AgencyStatus:{EMPTY}\n"), "AgencyStatusResponse:0;0000000000000000;open"),
        (format!("StoreRows:{EMPTY};99:{}\n", BET.join(";")), STORE_GAP),
        (format!("AgencyClose:{EMPTY};77\n"), "AgencyCloseResponse:2;short "),
        close(),
        rows(),
    ]
}

/// The answer to rows beyond those that are stored.
const STORE_GAP: &str = "StoreRowsResponse:2;0;0000000000000000;gap ";

/// One connection, and what was asked on it.
struct Asker {
    stream: TcpStream,
    unread: Vec<u8>,
    tally: Tally,
}

impl Asker {
    fn new(stream: TcpStream) -> Self {
        let tally = Tally { connections: 1, ..Tally::default() };
        Self { stream, unread: Vec::new(), tally }
    }

    /// Asks; says whether there is an answer, and not the connection's end.
    async fn ask(&mut self, (question, wanted): &Question) -> anyhow::Result<bool> {
        if self.stream.write_all(question.as_bytes()).await.is_err() {
            return Ok(false);
        }
        self.tally.lines += question.lines().count() as u64;
        self.tally.bytes += question.len() as u64;
        let Some(answer) = line(&mut self.stream, &mut self.unread).await? else {
            self.tally.closed += 1;
            return Ok(false);
        };
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with(wanted), "{answer:?} to {question:?}");
        Ok(true)
    }

    async fn ask_on(mut self, stop: CancellationToken) -> anyhow::Result<Tally> {
        for question in questions().iter().cycle() {
            if stop.is_cancelled() || !self.ask(question).await? {
                break;
            }
        }
        Ok(self.tally)
    }
}
