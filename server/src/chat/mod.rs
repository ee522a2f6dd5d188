//! Executing the packets of participants: from a [`ChatRequest`] to its answers, by way of the store
//! of messages.
//!
//! Sees no socket and no file.

mod hints;
mod presence;
mod rate;
mod timeline;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use messages::{Command, Join, Participant, message_for};
use protocol::AgencyId;
use protocol::chat::{
    ChatOutcome, ChatPacket, ChatRefusal, ChatRequest, ChatResponse, DirectAddress, Joined, Key,
    MessageText, Name, ticket,
};
use protocol::limits::READ_SECONDS_MAX;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::presence::Presence;
use self::rate::Rates;
use crate::limits::{HISTORY_READS_MAX, LOCK_TIMEOUT, TICKET_SECONDS};
use crate::store::messages::{Commanded, MessageStore, ReadLines};
use crate::store::{Unavailable, Unknown};

pub use hints::MessageHints;
pub use timeline::{Timeline, record};

/// An answer: lines, if there are any, and what ends it.
#[derive(Debug)]
pub struct ChatAnswer {
    /// Whether something was stored, or is new to the participant.
    pub is_useful: bool,
    /// Whether the lines were read for this answer alone, so that it has to be taken soon.
    pub is_urgent: bool,
    lines: ReadLines,
    reader: Option<Name>,
    end: ChatResponse,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ChatAnswer {
    /// The packets of the answer, each made when it is its turn: a client that takes none keeps few of
    /// them in memory.
    pub fn packets(&self) -> impl Iterator<Item = ChatResponse> {
        let lines = self.reader.iter().flat_map(|reader| {
            self.lines.iter().map(move |(position, line)| {
                ChatResponse::Message(message_for(reader, *position, line))
            })
        });
        lines.chain([self.end.clone()])
    }

    fn new(is_useful: bool, end: ChatResponse) -> Self {
        let (lines, reader, is_urgent, _permit) = (ReadLines::new(), None, false, None);
        Self { is_useful, is_urgent, lines, reader, end, _permit }
    }

    /// The answer to a packet after which nothing is stored or new.
    #[must_use]
    pub fn useless(end: ChatResponse) -> Self {
        Self::new(false, end)
    }

    /// The server could not look.
    fn busy(reason: &str) -> Self {
        Self::useless(ChatResponse::Error(format!("busy {reason}")))
    }
}

/// What a connection knows of its participant.
#[derive(Debug, Default)]
pub struct Session {
    /// For whom it speaks, once that one has joined.
    name: Option<Name>,
    /// Up to which position it has read.
    read_to: Option<u64>,
}

/// The messages, as one instance serves them. Cheap to clone.
#[derive(Clone)]
pub struct Chat<M> {
    store: M,
    instance: Arc<str>,
    presence: Arc<Presence>,
    rates: Arc<Rates>,
    history: Arc<Semaphore>,
    said: Arc<Notify>,
}

impl<M: MessageStore> Chat<M> {
    /// The messages of `store`, served by `instance`.
    pub fn new(store: M, instance: &str) -> Self {
        Self {
            store,
            instance: instance.into(),
            presence: Arc::default(),
            rates: Arc::default(),
            history: Arc::new(Semaphore::new(HISTORY_READS_MAX)),
            said: Arc::default(),
        }
    }

    /// The store of messages.
    pub fn store(&self) -> &M {
        &self.store
    }

    /// Tells whenever something may have been stored through this instance.
    #[must_use]
    pub fn said(&self) -> Arc<Notify> {
        Arc::clone(&self.said)
    }

    /// Executes a packet. A read takes up to half a minute, unless `ended` is cancelled.
    ///
    /// # Errors
    /// What became of it is unknown.
    pub async fn execute(
        &self,
        session: &mut Session,
        request: ChatRequest<'_>,
        ended: &CancellationToken,
    ) -> Result<ChatAnswer, Unknown> {
        let packet = request.packet();
        if let ChatRequest::Join { name, key, agency, address } = request {
            return self.join(session, name, key, agency, address).await;
        }
        let Some(name) = session.name.clone() else {
            let reason = "join first: ChatJoin:name;key;agency;address";
            return Ok(ChatAnswer::useless(packet.refuse(ChatRefusal::Join, reason)));
        };
        match request {
            ChatRequest::Join { .. } => unreachable!("it is answered above"),
            ChatRequest::Send { sequence, text } => {
                self.send(name, sequence, None, text.into_owned(), ended).await
            }
            ChatRequest::Private { sequence, to, text } => {
                self.send(name, sequence, Some(to), text.into_owned(), ended).await
            }
            ChatRequest::Read { after } => self.read(session, &name, after, ended).await,
            ChatRequest::Who => {
                let names = self.store.online().into_iter().map(|online| online.name).collect();
                Ok(ChatAnswer::useless(ChatResponse::Who(names)))
            }
            ChatRequest::Where { name: to } => Ok(ChatAnswer::useless(self.find(&name, &to))),
            ChatRequest::Leave => self.leave(session, name).await,
        }
    }

    async fn join(
        &self,
        session: &mut Session,
        name: Name,
        key: Key<'_>,
        agency: Option<AgencyId>,
        address: DirectAddress,
    ) -> Result<ChatAnswer, Unknown> {
        let instance = self.instance.to_string();
        let join = Join { name: name.clone(), key_hash: key.hash(), agency, address, instance };
        let before = self.store.participant(&name);
        // A name keeps its key, so that what is known is enough: forgers cost no lock.
        let is_forged = before.as_ref().is_some_and(|known| known.key_hash != join.key_hash);
        let commanded = if is_forged {
            let reason = format!("the name {name} belongs to another key");
            Commanded::Refused(ChatRefusal::Key, reason)
        } else {
            self.command(Command::Join(join)).await?
        };
        let joined = match commanded {
            Commanded::Stored(position) => {
                self.presence.joined(&name);
                let is_new = before.is_none_or(|before| !before.is_online);
                info!(action = "chat_join", result = "success", %name, is_new);
                session.name = Some(name.clone());
                let view = *self.store.view().borrow();
                let sequence = self.store.participant(&name).map_or(0, |known| known.sent);
                let (online, missing) = (view.online, view.missing);
                ChatOutcome::Done(Joined { position, online, missing, sequence })
            }
            Commanded::TryAgain(reason) => ChatOutcome::TryAgain(reason),
            Commanded::Refused(refusal, reason) => {
                debug!(action = "chat_join", result = "fail", %name, error = reason);
                ChatOutcome::Refused(refusal, reason)
            }
        };
        let is_done = matches!(joined, ChatOutcome::Done(_));
        Ok(ChatAnswer::new(is_done, ChatResponse::Joined(joined)))
    }

    async fn send(
        &self,
        from: Name,
        sequence: u64,
        to: Option<Name>,
        text: MessageText<'static>,
        ended: &CancellationToken,
    ) -> Result<ChatAnswer, Unknown> {
        let Some(wait) = self.rates.reserve(&from) else {
            let reason = "this server stores as many messages a second as it may".to_owned();
            let outcome = ChatOutcome::TryAgain(reason);
            return Ok(ChatAnswer::useless(ChatResponse::Sent(outcome)));
        };
        if !wait.is_zero() {
            let _ = ended.run_until_cancelled(sleep(wait)).await;
        }
        let outcome = match self.command(Command::Send { from, sequence, to, text }).await? {
            Commanded::Stored(position) => ChatOutcome::Done(position),
            Commanded::TryAgain(reason) => ChatOutcome::TryAgain(reason),
            Commanded::Refused(refusal, reason) => ChatOutcome::Refused(refusal, reason),
        };
        let is_done = matches!(outcome, ChatOutcome::Done(_));
        Ok(ChatAnswer::new(is_done, ChatResponse::Sent(outcome)))
    }

    /// Waits for lines behind `after`, and while lines are hidden for others who join.
    async fn read(
        &self,
        session: &mut Session,
        name: &Name,
        after: u64,
        ended: &CancellationToken,
    ) -> Result<ChatAnswer, Unknown> {
        let (_reading, started) = (self.presence.reading(name), Instant::now());
        if let Some(refused) = self.be_here(name).await? {
            return Ok(refused);
        }
        let mut views = self.store.view();
        let missing_before = views.borrow_and_update().missing;
        let end = Instant::now() + Duration::from_secs(READ_SECONDS_MAX);
        let view = loop {
            let view = *views.borrow_and_update();
            if view.position != after || view.missing != missing_before {
                break view;
            }
            tokio::select! {
                changed = views.changed() => if changed.is_err() { break view },
                () = sleep_until(end) => break view,
                () = ended.cancelled() => break view,
            }
        };
        let (online, missing) = (view.online, view.missing);
        let (lines, permit) = match self.lines(after).await {
            Ok(lines) => lines,
            Err(Unavailable(reason)) => return Ok(ChatAnswer::busy(&reason)),
        };
        // Another day has begun if fewer lines are there than were read: from its start, then.
        let read_to = if view.position < after { 0 } else { after };
        let position = lines.last().map_or(read_to, |(position, _)| *position);
        let end = ChatResponse::Read { position, online, missing };
        // Who reads the same lines again and again is delayed, and not who waits for new ones.
        let has_waited = started.elapsed() >= READ_IS_WAITING;
        let is_useful = has_waited || session.read_to.is_none_or(|before| position > before);
        session.read_to = session.read_to.max(Some(position));
        let (reader, is_urgent) = (Some(name.clone()), permit.is_some());
        Ok(ChatAnswer { is_useful, is_urgent, lines, reader, end, _permit: permit })
    }

    /// The lines behind `after`; with a permit if they are in memory for the caller alone.
    async fn lines(
        &self,
        after: u64,
    ) -> Result<(ReadLines, Option<OwnedSemaphorePermit>), Unavailable> {
        if let Some(lines) = self.store.recent_lines(after) {
            return Ok((lines, None));
        }
        let permit = timeout(WAIT_MAX, Arc::clone(&self.history).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Unavailable("too many read old messages".to_owned()));
        };
        Ok((self.store.read_lines(after).await?, Some(permit)))
    }

    /// Makes this the instance that answers for a participant who reads here; returns why it cannot.
    async fn be_here(&self, name: &Name) -> Result<Option<ChatAnswer>, Unknown> {
        let known = self.store.participant(name);
        let is_here = |known: &Participant| known.is_online && *known.instance == *self.instance;
        let Some(known) = known.filter(|known| !is_here(known)) else { return Ok(None) };
        let Participant { key_hash, agency, address, .. } = known;
        let instance = self.instance.to_string();
        let join = Join { name: name.clone(), key_hash, agency, address, instance };
        Ok(match self.command(Command::Join(join)).await? {
            Commanded::Stored(_) => None,
            Commanded::TryAgain(reason) => Some(ChatAnswer::busy(&reason)),
            Commanded::Refused(refusal, reason) => {
                Some(ChatAnswer::useless(ChatPacket::Read.refuse(refusal, reason)))
            }
        })
    }

    /// Where `to` takes private messages, with what proves to them that `from` asked.
    fn find(&self, from: &Name, to: &Name) -> ChatResponse {
        let found = self.store.participant(to).filter(|to| to.is_online && to.address.0.is_some());
        let Some(found) = found else {
            return ChatResponse::Where { address: DirectAddress(None), ticket: String::new() };
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ticket = ticket::make(&found.key_hash, from, to, now.as_secs() + TICKET_SECONDS);
        ChatResponse::Where { address: found.address, ticket }
    }

    async fn leave(&self, session: &mut Session, name: Name) -> Result<ChatAnswer, Unknown> {
        let leave = Command::Leave { name: name.clone(), instance: None };
        Ok(match self.command(leave).await? {
            Commanded::Stored(_) => {
                self.presence.left(&name);
                session.name = None;
                info!(action = "chat_leave", result = "success", %name);
                ChatAnswer::new(true, ChatResponse::Left)
            }
            Commanded::TryAgain(reason) => ChatAnswer::busy(&reason),
            Commanded::Refused(refusal, reason) => {
                ChatAnswer::useless(ChatPacket::Leave.refuse(refusal, reason))
            }
        })
    }

    async fn command(&self, command: Command) -> Result<Commanded, Unknown> {
        let commanded = self.store.command(command).await;
        if let Ok(Commanded::Stored(_)) = commanded {
            self.said.notify_one();
        }
        commanded
    }
}

/// A read that took so long was no flood.
const READ_IS_WAITING: Duration = Duration::from_secs(1);

/// The longest that a message waits for its turn: as long as for a lock.
const WAIT_MAX: Duration = LOCK_TIMEOUT;
