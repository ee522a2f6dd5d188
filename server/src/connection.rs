//! One connection: bytes in, answers out, in order.
//!
//! Knows sockets and time; what a request means it leaves to [`Lottery`]. What one connection can
//! claim is bounded: a line, a batch in the store's queue, an answer. What all of them can claim
//! together is bounded by [`Slots`]: a connection that waits for its client holds next to nothing,
//! or gives way; what is refused at once waits for its turn in [`Pace`].

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use protocol::{Frame, Framed, PacketError, Request, Response};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::input::{Fault, Held, Input};
use crate::limits::{LOOK_BYTES, LOOK_TURNS};
use crate::lottery::{Admitted, Answer, Lottery};
use crate::output::Output;
use crate::pace::Pace;
use crate::slots::Slots;
use crate::store::Store;

/// What all connections share.
#[derive(Debug, Default)]
pub struct Shared {
    slots: Slots,
    pace: Pace,
}

/// Serves a connection with `peer` until that one has gone, or until `shutdown`; what is being
/// answered then is still answered.
pub async fn serve<S: Store>(
    stream: TcpStream,
    peer: SocketAddr,
    lottery: Lottery<S>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let (input, held, output) = (Input::default(), Held::default(), Output::default());
    let has_looked = false;
    let mut connection =
        Connection { stream, peer, lottery, shared, shutdown, input, held, output, has_looked };
    match connection.run().await {
        Ok(()) => {}
        Err(Fault::Io(error)) => debug!(action = "connection", result = "fail", %peer, %error),
        Err(fault @ (Fault::GaveWay | Fault::NoSlot)) => {
            let next = "its client connects again; if many do not, somebody holds packets back";
            warn!(action = "connection", result = "fail", %peer, error = %fault, next);
            connection.output.tell_busy(&connection.stream);
        }
    }
}

struct Connection<S> {
    stream: TcpStream,
    peer: SocketAddr,
    lottery: Lottery<S>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    input: Input,
    held: Held,
    output: Output,
    /// Whether it has had a packet executed that stored nothing.
    has_looked: bool,
}

/// What to do after the lines at hand.
enum Next {
    Read,
    Winners(Admitted<'static>),
    /// Close the connection; all answers that it has are sent.
    Close,
}

impl<S: Store> Connection<S> {
    async fn run(&mut self) -> Result<(), Fault> {
        loop {
            match self.answer_lines().await? {
                Next::Read if self.shutdown.is_cancelled() => return Ok(()),
                Next::Read => {
                    if !self.read().await? {
                        return Ok(());
                    }
                }
                Next::Winners(request) => {
                    if !self.answer_winners(request).await? {
                        return Ok(());
                    }
                }
                Next::Close => return Ok(()),
            }
        }
    }

    /// Answers the whole lines at hand, up to a request for winners: that one may take hours, for
    /// which nothing must be held.
    async fn answer_lines(&mut self) -> Result<Next, Fault> {
        let (mut taken, mut ended, mut discarded) = (0, false, 0);
        let next = loop {
            let Framed { consumed, frame } = self.input.next(taken);
            taken += consumed;
            let request = match frame {
                Frame::Incomplete => {
                    discarded = consumed;
                    break Next::Read;
                }
                Frame::TooLong(head) => Err(PacketError::too_long(&head)),
                Frame::Line(line) => Request::parse(line),
            };
            ended = true;
            let ends_connection = match &request {
                Ok(request) => request.packet_type().ends_connection(),
                Err(malformed) => malformed.ends_connection(),
            };
            match admit(request, &self.lottery, self.peer) {
                Err(refusal) => {
                    taken = self.wait_behind(taken, consumed).await?;
                    self.output.push(&refusal);
                }
                Ok(request) => {
                    if let Some(request) = request.for_winners() {
                        break Next::Winners(request);
                    }
                    self.output.send(&self.stream, &self.held).await?;
                    self.held.claim(&self.shared.slots).await?;
                    match self.lottery.execute(request).await {
                        Answer::Stored(response) => self.output.push_result(response.as_ref()),
                        Answer::Looked(response) => {
                            self.output.push_result(response.as_ref());
                            taken = self.wait_behind_look(taken).await?;
                        }
                        Answer::HangUp => break Next::Close,
                    }
                }
            }
            if ends_connection {
                self.output.send_last(&self.stream, &self.held).await?;
                break Next::Close;
            }
            if !self.output.may_gather(self.held.is_slot()) {
                self.output.send(&self.stream, &self.held).await?;
            }
            if self.shutdown.is_cancelled() {
                break Next::Read;
            }
        };
        self.input.drop_taken(taken, ended);
        self.output.send(&self.stream, &self.held).await?;
        self.input.rest(&mut self.held);
        self.wait_for_discarded(discarded).await?;
        Ok(next)
    }

    /// Waits for the turn of a line that ends at `taken`, and counts as so long, among all that
    /// store nothing. Says how many of the bytes before that are still there.
    async fn wait_behind(&mut self, taken: usize, bytes: usize) -> Result<usize, Fault> {
        if self.shared.pace.try_pass(bytes) {
            return Ok(taken);
        }
        // The answers go first that need the slot, and those that were promised not to wait.
        if !self.output.may_wait(self.input.needs_slot(taken)) {
            self.output.send(&self.stream, &self.held).await?;
        }
        let taken = self.input.rest_early(taken, &mut self.held);
        self.wait_for_turn(bytes).await?;
        Ok(taken)
    }

    /// Waits for the turns of what was executed and stored nothing. The first such packet of a
    /// connection has none to wait for: clients ask what is stored, and then store.
    async fn wait_behind_look(&mut self, mut taken: usize) -> Result<usize, Fault> {
        if mem::replace(&mut self.has_looked, true) {
            for _ in 0..LOOK_TURNS {
                taken = self.wait_behind(taken, LOOK_BYTES).await?;
            }
        }
        Ok(taken)
    }

    /// So many bytes of a line that is too long were read and are gone: it has no end yet, and may
    /// never have one.
    async fn wait_for_discarded(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > 0 && !self.shared.pace.try_pass(bytes) {
            let since = Instant::now();
            self.wait_for_turn(bytes).await?;
            self.input.excuse(since.elapsed());
        }
        Ok(())
    }

    /// Waits for the turn in the queue of what is refused, but not at the end. Who has a slot holds
    /// it for nothing meanwhile, and gives way to others as if it waited for its client.
    async fn wait_for_turn(&self, bytes: usize) -> Result<(), Fault> {
        // Boxed: what only few wait for is no part of all connections.
        let mut waiting = Box::pin(self.turn(bytes));
        Ok(self.held.stall(waiting.as_mut()).await?)
    }

    async fn turn(&self, bytes: usize) {
        tokio::select! {
            () = self.shared.pace.pass(bytes) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Waits for the draw; says whether the connection goes on.
    async fn answer_winners(&mut self, request: Admitted<'static>) -> Result<bool, Fault> {
        let Self { stream, lottery, shutdown, held, output, .. } = self;
        let waiting = pin!(async {
            tokio::select! {
                answer = lottery.execute(request) => Ok(Some(answer)),
                () = shutdown.cancelled() => Ok(None),
                // Not the end of what the client sends: it may have said all and still listen.
                broken = stream.ready(Interest::ERROR) => broken.map(|_| None),
            }
        });
        match held.stall(waiting).await?? {
            Some(Answer::Looked(Some(Response::Winners(documents)))) => {
                output.send_winners(stream, &documents, held).await?;
            }
            Some(Answer::Stored(Some(response)) | Answer::Looked(Some(response))) => {
                output.push(&response);
                output.send(stream, held).await?;
            }
            Some(Answer::Stored(None) | Answer::Looked(None) | Answer::HangUp) | None => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads what has come in; says whether there was anything before the end or the shutdown.
    async fn read(&mut self) -> Result<bool, Fault> {
        let Self { stream, shared, shutdown, input, held, .. } = self;
        loop {
            let readable = async {
                let waiting = pin!(timeout_at(input.deadline(), stream.readable()));
                held.stall(waiting).await?.map_err(io::Error::from)??;
                input.make_room(stream, held, &shared.slots).await
            };
            let has_room = tokio::select! {
                has_room = readable => has_room?,
                () = shutdown.cancelled() => return Ok(false),
            };
            if !has_room {
                continue;
            }
            match stream.try_read_buf(input.room()) {
                Ok(bytes) => return Ok(bytes > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => input.rest(held),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Admits what is to be executed; else the answer to what is refused without the store being asked.
fn admit<'a, S: Store>(
    request: Result<Request<'a>, PacketError>,
    lottery: &Lottery<S>,
    peer: SocketAddr,
) -> Result<Admitted<'a>, Response> {
    match request {
        Ok(request) => lottery.admit(request),
        Err(malformed) => {
            tell_malformed(&malformed, peer);
            Err(malformed.response())
        }
    }
}

/// What no client of this protocol sends is worth a look only for who looks for it; a packet that
/// a client got wrong is worth more.
fn tell_malformed(malformed: &PacketError, peer: SocketAddr) {
    match malformed {
        PacketError::UnknownType => {
            debug!(action = "packet", result = "fail", %peer, error = "unknown")
        }
        PacketError::Body(packet, error) => {
            let packet = packet.name();
            warn!(action = "packet", result = "fail", packet, %peer, %error);
        }
    }
}

#[cfg(test)]
mod tests;
