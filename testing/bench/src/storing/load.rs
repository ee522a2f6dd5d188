//! The load: agencies in a closed loop, each with one packet outstanding.
//!
//! All of them run on one thread, which is woken once for many answers: it shares the machine's
//! cores with what it measures, so what it takes itself is measured, too.
//!
//! **Invariant**: every answer is checked, and a bet counts only when its answer has come.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand::seq::IndexedRandom as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use harness::processes;

/// How long an answer, or a connection, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// One side of the conversation. Everything costly is prepared before.
pub trait Talk: Send + 'static {
    /// Puts the next packet behind what is in `packet`.
    fn next(&mut self, packet: &mut Vec<u8>);

    /// How many of the `unread` bytes are the first answer, if it is there as a whole: a line, if
    /// nothing else is said.
    fn answer_bytes(&self, unread: &[u8]) -> Option<usize> {
        unread.iter().position(|byte| *byte == b'\n').map(|end| end + 1)
    }

    /// Checks the answer to the oldest packet without one; gives the number of bets it stored.
    ///
    /// # Errors
    /// It is not the answer that says so.
    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64>;
}

/// How a packet gets to the other side.
enum Path {
    /// Always by this connection.
    Kept(TcpStream),
    /// By a new connection for each packet, to any of these.
    Anew(Vec<SocketAddr>),
}

/// A path and what is said there.
pub struct Speaker<T> {
    path: Path,
    talk: T,
    outstanding_max: usize,
}

impl<T: Talk> Speaker<T> {
    /// Connects to `address`, once for all packets.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr, talk: T) -> anyhow::Result<Self> {
        let connected = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT);
        Self::over(connected.with_context(|| format!("connect to {address}"))?, talk)
    }

    /// Goes on with a connection on which nothing is outstanding.
    ///
    /// # Errors
    /// The system refused a setting of the connection.
    pub fn over(stream: TcpStream, talk: T) -> anyhow::Result<Self> {
        stream.set_nodelay(true).context("send at once")?;
        stream.set_nonblocking(true).context("read without waiting")?;
        Ok(Self { path: Path::Kept(stream), talk, outstanding_max: 1 })
    }

    /// Connects to one of `addresses`, chosen at random, for each packet.
    #[must_use]
    pub fn anew(addresses: &[SocketAddr], talk: T) -> Self {
        Self { path: Path::Anew(addresses.to_vec()), talk, outstanding_max: 1 }
    }

    /// As `agencies` of them would, that share the connection: each has one packet outstanding.
    #[must_use]
    pub fn shared_by(mut self, agencies: u32) -> Self {
        self.outstanding_max = agencies as usize;
        self
    }

    /// Sends packet after packet until `time` is over.
    async fn speak(mut self, start: Instant, time: Duration) -> anyhow::Result<(Self, Spoken)> {
        let mut spoken = Spoken::default();
        match &self.path {
            Path::Kept(stream) => {
                let copy = stream.try_clone().context("share a connection")?;
                let stream = tokio::net::TcpStream::from_std(copy).context("read a connection")?;
                let is_time = || start.elapsed() < time;
                converse(stream, &mut self.talk, self.outstanding_max, is_time, &mut spoken)
                    .await?;
            }
            Path::Anew(addresses) => {
                while start.elapsed() < time {
                    let address = addresses.choose(&mut rand::rng()).context("no address")?;
                    let stream = tokio::net::TcpStream::connect(address).await;
                    let stream = stream.with_context(|| format!("connect to {address}"))?;
                    stream.set_nodelay(true).context("send at once")?;
                    let mut packets = 0..1;
                    let is_first = || packets.next().is_some();
                    converse(stream, &mut self.talk, 1, is_first, &mut spoken).await?;
                }
            }
        }
        Ok((self, spoken))
    }
}

/// Sends as long as `goes_on`, and then waits for the answers that are missing.
async fn converse(
    mut stream: tokio::net::TcpStream,
    talk: &mut impl Talk,
    outstanding_max: usize,
    mut goes_on: impl FnMut() -> bool,
    spoken: &mut Spoken,
) -> anyhow::Result<()> {
    let (mut packet, mut unread, mut outstanding) = (Vec::new(), Vec::new(), VecDeque::new());
    loop {
        while outstanding.len() < outstanding_max && goes_on() {
            talk.next(&mut packet);
            outstanding.push_back(Instant::now());
        }
        stream.write_all(&packet).await.context("send a packet")?;
        packet.clear();
        if outstanding.is_empty() {
            return Ok(());
        }
        if stream.read_buf(&mut unread).await.context("read an answer")? == 0 {
            bail!("the connection ended");
        }
        while let Some(bytes) = talk.answer_bytes(&unread) {
            spoken.bets += talk.check(unread.get(..bytes).unwrap_or_default())?;
            unread.drain(..bytes);
            let sent = outstanding.pop_front().context("an answer to nothing")?;
            spoken.waits.push(sent.elapsed());
        }
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
        let speaking = timeout_after(time, speak_all(speakers, time));
        runtime.context("start the load")?.block_on(speaking)
    });
    loading.await.context("follow the load")?
}

async fn timeout_after<O>(
    time: Duration,
    speaking: impl Future<Output = anyhow::Result<O>>,
) -> anyhow::Result<O> {
    let spoken = timeout(time + ANSWER_TIMEOUT, speaking).await;
    spoken.context("an answer does not come")?
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
    while let Some(joined) = speaking.join_next().await {
        let (speaker, spoken) = joined.context("follow a connection")??;
        speakers.push(speaker);
        all.bets += spoken.bets;
        all.waits.extend(spoken.waits);
    }
    all.elapsed = start.elapsed();
    all.load = processes::this_thread().context("measure the load")?.saturating_sub(before);
    Ok((speakers, all))
}
