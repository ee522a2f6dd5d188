//! One connection: a packet is read, executed and answered, then the next one.
//!
//! A packet that stores nothing delays the next one of its connection: the first does not, the
//! second by a millisecond, each further one by twice as much, up to a second. A packet that stores
//! ends that. Connections share no queue for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::chat::{ChatError, ChatPacket, ChatRequest};
use protocol::{AgencyId, Outcome, PacketError, PacketType, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::limits::{DELAY_MAX, DELAY_MIN, LONG_PACKETS_MAX};
use super::read_buffer::{ConnectionError, Next, ReadBuffer};
use super::write_buffer::{write_answer, write_chat};
use crate::chat::{Chat, ChatAnswer, Session};
use crate::lottery::{Answer, Lottery};
use crate::metrics::{Metrics, PacketOutcome};
use crate::store::Store;
use crate::store::messages::MessageStore;

/// Both directions of a connection, whatever carries them.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Completes when the peer has broken the connection off. A peer that has only ended its sending
    /// side has not.
    fn broken(&self) -> impl Future<Output = ()> + Send;
}

impl Transport for TcpStream {
    async fn broken(&self) {
        let _ = self.ready(Interest::ERROR).await;
    }
}

/// What all connections of an instance have in common.
pub struct Shared<S, M> {
    lottery: Lottery<S>,
    chat: Chat<M>,
    long_packets: Semaphore,
    metrics: Arc<Metrics>,
    pub(super) shutdown: CancellationToken,
}

impl<S: Store, M: MessageStore> Shared<S, M> {
    /// Connections that ask `lottery` and `chat`, and end at `shutdown`.
    pub fn new(
        lottery: Lottery<S>,
        chat: Chat<M>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { lottery, chat, long_packets: Semaphore::new(LONG_PACKETS_MAX), metrics, shutdown }
    }
}

/// Serves the connection with `peer` until the peer ends it, or until the shutdown; a packet that is
/// being executed then is still answered.
pub async fn serve<S: Store, M: MessageStore>(
    mut stream: impl Transport,
    peer: SocketAddr,
    shared: Arc<Shared<S, M>>,
) {
    shared.metrics.connections_accepted.add(1);
    let _open = shared.metrics.connections_open.hold();
    match answer_packets(&mut stream, peer, &shared).await {
        Ok(()) => {}
        Err(ConnectionError::Io(error)) => {
            debug!(action = "connection", result = "fail", %peer, %error);
        }
        Err(busy @ ConnectionError::Busy) => {
            info!(action = "connection", result = "fail", %peer, error = %busy);
            shared.metrics.refusals.count("busy");
            let _ = write_answer(&mut stream, &Response::Error(busy.to_string())).await;
        }
    }
}

async fn answer_packets<S: Store, M: MessageStore>(
    stream: &mut impl Transport,
    peer: SocketAddr,
    shared: &Shared<S, M>,
) -> Result<(), ConnectionError> {
    let mut buffer = ReadBuffer::new(&shared.long_packets);
    let (mut delay, mut session) = (Delay::default(), Session::default());
    loop {
        let next = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return Ok(()),
            next = buffer.next(stream) => next?,
        };
        if let Some(request) = of_participant(&next, &buffer) {
            // Boxed: most connections say nothing.
            let answer = match request {
                Ok(ChatRequest::Read { after }) => {
                    // The next line may be minutes away.
                    buffer.consume();
                    let read = Ok(ChatRequest::Read { after });
                    Box::pin(say(read, stream, &mut session, shared)).await
                }
                request => {
                    let answer = Box::pin(say(request, stream, &mut session, shared)).await;
                    buffer.consume();
                    answer
                }
            };
            let Some(answer) = answer else { return Ok(()) };
            write_chat(stream, &answer).await?;
            let is_useful = answer.is_useful;
            drop(answer);
            delay.after(is_useful, &shared.shutdown).await;
            continue;
        }
        let request = match next {
            Next::Line => Request::parse(buffer.line()),
            Next::TooLong(head) => Err(PacketError::too_long(&head)),
            Next::PartOfTooLong => {
                buffer.consume();
                delay.wait(&shared.shutdown).await;
                continue;
            }
            Next::End => return Ok(()),
        };
        let packet = match &request {
            Ok(request) => Some(request.packet_type()),
            Err(PacketError::Body(packet, _)) => Some(*packet),
            Err(PacketError::UnknownType) => None,
        };
        let answer = match request {
            Ok(Request::WinnersRequest { agency }) => {
                // The draw may be hours away.
                buffer.consume();
                wait_for_winners(agency, stream, shared).await
            }
            Ok(request) => shared.lottery.execute(request).await,
            Err(malformed) => refuse(&malformed, peer),
        };
        buffer.consume();
        count(packet, &answer, &shared.metrics);
        let (Answer::Stored(response) | Answer::Looked(response)) = &answer else {
            return Ok(());
        };
        if let Some(response) = response {
            write_answer(stream, response).await?;
        }
        if packet.is_some_and(PacketType::ends_connection) {
            return Ok(stream.shutdown().await?);
        }
        delay.after(matches!(answer, Answer::Stored(_)), &shared.shutdown).await;
    }
}

/// Refuses a malformed packet. That is a warning, because a client has an error. A line that is no
/// packet comes from no client of this protocol, and may come in any number.
fn refuse(malformed: &PacketError, peer: SocketAddr) -> Answer {
    match malformed {
        PacketError::UnknownType => {
            debug!(action = "packet", result = "fail", %peer, error = "unknown");
        }
        PacketError::Body(packet, error) => {
            warn!(action = "packet", result = "fail", packet = packet.name(), %peer, %error);
        }
    }
    Answer::Looked(Some(malformed.response()))
}

/// What was read, if it is of a participant.
fn of_participant<'b>(
    next: &Next,
    buffer: &'b ReadBuffer<'_>,
) -> Option<Result<ChatRequest<'b>, ChatError>> {
    match next {
        Next::Line => ChatRequest::parse(buffer.line()),
        Next::TooLong(head) => ChatError::too_long(head).map(Err),
        Next::PartOfTooLong | Next::End => None,
    }
}

/// Executes a packet of a participant. `None` closes the connection: what became of it is unknown,
/// or nobody waits for it any more. A read ends with the instance, and when the peer has gone.
async fn say<S: Store, M: MessageStore>(
    request: Result<ChatRequest<'_>, ChatError>,
    stream: &impl Transport,
    session: &mut Session,
    shared: &Shared<S, M>,
) -> Option<ChatAnswer> {
    let request = match request {
        Ok(request) => request,
        Err(error) => return Some(ChatAnswer::useless(error.response())),
    };
    let may_wait = request.packet() == ChatPacket::Read;
    tokio::select! {
        answer = shared.chat.execute(session, request, &shared.shutdown) => answer.ok(),
        () = stream.broken(), if may_wait => None,
    }
}

/// Waits for the draw, unless the instance ends or the peer has gone: then there is no answer.
async fn wait_for_winners<S: Store, M: MessageStore>(
    agency: AgencyId,
    stream: &impl Transport,
    shared: &Shared<S, M>,
) -> Answer {
    tokio::select! {
        answer = shared.lottery.execute(Request::WinnersRequest { agency }) => answer,
        () = shared.shutdown.cancelled() => Answer::HangUp,
        () = stream.broken() => Answer::HangUp,
    }
}

/// Counts a packet by its answer, and a refusal by its word.
fn count(packet: Option<PacketType>, answer: &Answer, metrics: &Metrics) {
    let word = match answer {
        Answer::Looked(Some(Response::Error(reason))) => Some(reason.clone()),
        Answer::Looked(Some(
            Response::StoreRows { outcome, .. } | Response::AgencyClose(outcome),
        )) => match outcome {
            Outcome::Refused(refusal, _) => Some(refusal.to_string()),
            Outcome::TryAgain(_) => Some("busy".to_owned()),
            Outcome::Done => None,
        },
        _ => None,
    };
    let outcome = match answer {
        Answer::Stored(_) => PacketOutcome::Stored,
        Answer::Looked(Some(Response::Store { stored: false })) => PacketOutcome::Refused,
        Answer::Looked(_) if word.is_some() => PacketOutcome::Refused,
        Answer::Looked(_) => PacketOutcome::Answered,
        Answer::HangUp => PacketOutcome::Unanswered,
    };
    metrics.packets.count(packet, outcome);
    if let Some(word) = word {
        metrics.refusals.count(&word);
    }
}

/// How long a connection waits after its next packet that stores nothing.
#[derive(Debug, Default)]
struct Delay(Duration);

impl Delay {
    /// Waits after a packet that stored nothing; one that did ends all delay.
    async fn after(&mut self, has_stored: bool, shutdown: &CancellationToken) {
        if has_stored {
            *self = Self::default();
        } else {
            self.wait(shutdown).await;
        }
    }

    /// Waits, and doubles the next delay.
    async fn wait(&mut self, shutdown: &CancellationToken) {
        let delay = self.0;
        self.0 = (2 * delay).clamp(DELAY_MIN, DELAY_MAX);
        if !delay.is_zero() {
            tokio::select! {
                () = sleep(delay) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}
