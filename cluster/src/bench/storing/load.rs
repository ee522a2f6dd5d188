//! The load: connections in a closed loop, each with one packet outstanding.
//!
//! All of them run on one thread, which is woken once for many answers: it shares the machine's
//! cores with what it measures, so what it takes itself is measured, too.
//!
//! **Invariant**: every answer is checked, and a bet counts only when its answer has come.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::bench::processes;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// One agency's side of the conversation. Everything costly is prepared before.
pub trait Talk: Send + 'static {
    /// Puts the next packet into `packet`, which is empty.
    fn next(&mut self, packet: &mut Vec<u8>);

    /// Checks the answer to it, a line with its end; gives the number of bets that it stored.
    ///
    /// # Errors
    /// It is not the answer that says so.
    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64>;
}

/// A connection and what is said there.
pub struct Speaker<T> {
    stream: TcpStream,
    talk: T,
}

impl<T: Talk> Speaker<T> {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr, talk: T) -> anyhow::Result<Self> {
        let connected = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT);
        let stream = connected.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("send at once")?;
        stream.set_nonblocking(true).context("read without waiting")?;
        Ok(Self { stream, talk })
    }

    /// Sends packet after packet until `time` is over.
    async fn speak(mut self, start: Instant, time: Duration) -> anyhow::Result<(Self, Spoken)> {
        let copy = self.stream.try_clone().context("share a connection")?;
        let mut stream = tokio::net::TcpStream::from_std(copy).context("read a connection")?;
        let mut spoken = Spoken::default();
        let (mut packet, mut answer) = (Vec::new(), Vec::new());
        let mut sent = Instant::now();
        while sent.duration_since(start) < time {
            packet.clear();
            answer.clear();
            self.talk.next(&mut packet);
            stream.write_all(&packet).await.context("send a packet")?;
            while answer.last() != Some(&b'\n') {
                if stream.read_buf(&mut answer).await.context("read an answer")? == 0 {
                    bail!("the connection ended");
                }
            }
            spoken.bets += self.talk.check(&answer)?;
            let answered = Instant::now();
            spoken.waits.push(answered.duration_since(sent));
            sent = answered;
        }
        Ok((self, spoken))
    }
}

/// What one connection, or all of them, came to.
#[derive(Debug, Default)]
pub struct Spoken {
    /// Acknowledged bets.
    pub bets: u64,
    /// From sending a packet to the end of its answer.
    pub waits: Vec<Duration>,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// What the load itself took of a processor.
    pub load: Duration,
}

/// Runs all `speakers` for `time` on a thread of its own, and returns them with what they did.
///
/// # Errors
/// An answer is wrong or does not come.
pub async fn run<T: Talk>(
    speakers: Vec<Speaker<T>>,
    time: Duration,
) -> anyhow::Result<(Vec<Speaker<T>>, Spoken)> {
    let loading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("start the load")?.block_on(speak_all(speakers, time))
    });
    loading.await.context("follow the load")?
}

async fn speak_all<T: Talk>(
    speakers: Vec<Speaker<T>>,
    time: Duration,
) -> anyhow::Result<(Vec<Speaker<T>>, Spoken)> {
    let before = processes::this_thread().context("measure the load")?;
    let start = Instant::now();
    let speaking = speakers.into_iter().map(|speaker| speaker.speak(start, time));
    let mut speaking: JoinSet<_> = speaking.collect();
    let (mut speakers, mut all) = (Vec::new(), Spoken::default());
    let limit = tokio::time::sleep(time + ANSWER_TIMEOUT);
    tokio::pin!(limit);
    loop {
        let joined = tokio::select! {
            joined = speaking.join_next() => joined,
            () = &mut limit => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        };
        let Some(joined) = joined else { break };
        let (speaker, spoken) = joined.context("follow a connection")??;
        speakers.push(speaker);
        all.bets += spoken.bets;
        all.waits.extend(spoken.waits);
    }
    all.elapsed = start.elapsed();
    all.load = processes::this_thread().context("measure the load")?.saturating_sub(before);
    Ok((speakers, all))
}
