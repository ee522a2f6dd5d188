//! One connection: bytes in, answers out, in order.
//!
//! Knows sockets and time; what a request means it leaves to [`Lottery`]. What one connection can
//! claim is bounded: a line, a batch in the store's queue, an answer. A connection that waits
//! holds no buffer.

use std::io;
use std::time::Duration;

use protocol::{AgencyId, Frame, Framed, Framer, Malformed, Request, Response, WINNERS_HEAD};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::limits::{ANSWER_BYTES_MAX, IDLE_TIMEOUT, LINE_TIMEOUT, READ_BYTES, WRITE_TIMEOUT};
use crate::lottery::{Answer, Lottery};
use crate::store::Store;

/// Serves a connection until its client has gone, or until `shutdown`; what is being answered
/// then is still answered.
pub async fn serve<S: Store>(stream: TcpStream, lottery: Lottery<S>, shutdown: CancellationToken) {
    let input = Input { unread: Vec::new(), framer: Framer::default(), line_since: None };
    let mut connection = Connection { stream, lottery, shutdown, input, output: Vec::new() };
    if let Err(error) = connection.run().await {
        debug!(action = "connection", result = "fail", error = error.to_string());
    }
}

struct Connection<S> {
    stream: TcpStream,
    lottery: Lottery<S>,
    shutdown: CancellationToken,
    input: Input,
    /// Answers that are not sent yet.
    output: Vec<u8>,
}

/// What was read and not yet taken as lines.
struct Input {
    unread: Vec<u8>,
    framer: Framer,
    /// Since when the line that is unfinished is coming in.
    line_since: Option<Instant>,
}

/// What to do after the lines at hand.
enum Next {
    Read,
    Winners(AgencyId),
    HangUp,
}

impl<S: Store> Connection<S> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            match self.answer_lines().await? {
                Next::Read if self.shutdown.is_cancelled() => return Ok(()),
                Next::Read => {
                    if !self.read().await? {
                        return Ok(());
                    }
                }
                Next::Winners(agency) => {
                    if !self.answer_winners(agency).await? {
                        return Ok(());
                    }
                }
                Next::HangUp => return Ok(()),
            }
        }
    }

    /// Answers the whole lines at hand, up to a request for winners: that one may take hours, for
    /// which nothing must be held.
    async fn answer_lines(&mut self) -> io::Result<Next> {
        let (mut taken, mut ended) = (0, false);
        let next = loop {
            let unread = self.input.unread.get(taken..).unwrap_or_default();
            let Framed { consumed, frame } = self.input.framer.next(unread);
            taken += consumed;
            let request = match frame {
                Frame::Incomplete => break Next::Read,
                Frame::TooLong(head) => Err(Malformed::too_long(&head)),
                Frame::Line(line) => Request::parse(line),
            };
            ended = true;
            match request {
                Err(malformed) => {
                    tell_malformed(&malformed, &self.stream);
                    malformed.response().write(&mut self.output);
                }
                Ok(Request::WinnersRequest { agency }) => break Next::Winners(agency),
                Ok(request) => {
                    send(&mut self.stream, &mut self.output).await?;
                    match self.lottery.execute(request).await {
                        Answer::Respond(response) => response.write(&mut self.output),
                        Answer::Nothing => {}
                        Answer::HangUp => break Next::HangUp,
                    }
                }
            }
            if self.output.len() > ANSWER_BYTES_MAX {
                send(&mut self.stream, &mut self.output).await?;
            }
            if self.shutdown.is_cancelled() {
                break Next::Read;
            }
        };
        self.input.drop_taken(taken, ended);
        send(&mut self.stream, &mut self.output).await?;
        Ok(next)
    }

    /// Waits for the draw; says whether the connection goes on.
    async fn answer_winners(&mut self, agency: AgencyId) -> io::Result<bool> {
        let answer = tokio::select! {
            answer = self.lottery.execute(Request::WinnersRequest { agency }) => answer,
            () = self.shutdown.cancelled() => return Ok(false),
            // Not the end of what the client sends: it may have said all and still listen.
            broken = self.stream.ready(Interest::ERROR) => return broken.map(|_| false),
        };
        match answer {
            Answer::Respond(Response::Winners(documents)) => self.send_winners(&documents).await?,
            Answer::Respond(response) => {
                response.write(&mut self.output);
                send(&mut self.stream, &mut self.output).await?;
            }
            Answer::Nothing | Answer::HangUp => return Ok(false),
        }
        Ok(true)
    }

    /// Sends the answer piece by piece: many may wait for one agency's winners, which may be many,
    /// and no connection holds them but the record.
    async fn send_winners(&mut self, documents: &str) -> io::Result<()> {
        self.output.extend_from_slice(WINNERS_HEAD.as_bytes());
        for piece in documents.as_bytes().chunks(ANSWER_BYTES_MAX) {
            self.output.extend_from_slice(piece);
            if piece.len() == ANSWER_BYTES_MAX {
                send(&mut self.stream, &mut self.output).await?;
            }
        }
        self.output.push(b'\n');
        send(&mut self.stream, &mut self.output).await
    }

    /// Reads what has come in; says whether there was anything before the end or the shutdown.
    async fn read(&mut self) -> io::Result<bool> {
        let deadline = self.input.deadline();
        loop {
            let readable = timeout_at(deadline, self.stream.readable());
            tokio::select! {
                readable = readable => readable.map_err(|_| io::ErrorKind::TimedOut)??,
                () = self.shutdown.cancelled() => return Ok(false),
            }
            self.input.unread.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.input.unread) {
                Ok(bytes) => return Ok(bytes > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.input.rest(),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Input {
    /// Drops what was taken; `ended` says whether a line ended in it.
    fn drop_taken(&mut self, taken: usize, ended: bool) {
        self.unread.drain(..taken);
        self.rest();
        if ended {
            self.line_since = None;
        }
        if self.framer.is_mid_line(&self.unread) {
            self.line_since.get_or_insert_with(Instant::now);
        }
    }

    /// A connection that waits holds no buffer.
    fn rest(&mut self) {
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
    }

    fn deadline(&self) -> Instant {
        match self.line_since {
            Some(since) => since + LINE_TIMEOUT,
            None => Instant::now() + IDLE_TIMEOUT,
        }
    }
}

/// What no client of this protocol sends is worth a look only for who looks for it; a packet that
/// a client got wrong is worth more.
fn tell_malformed(malformed: &Malformed, stream: &TcpStream) {
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    match malformed {
        Malformed::Unknown => debug!(action = "packet", result = "fail", peer, error = "unknown"),
        Malformed::Packet(packet, error) => {
            let (packet, error) = (packet.name(), error.to_string());
            warn!(action = "packet", result = "fail", packet, peer, error);
        }
    }
}

/// Sends the answers that wait, and gives a large buffer back.
async fn send(stream: &mut TcpStream, output: &mut Vec<u8>) -> io::Result<()> {
    if output.is_empty() {
        return Ok(());
    }
    within(WRITE_TIMEOUT, stream.write_all(output)).await?;
    *output = Vec::new();
    Ok(())
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}
