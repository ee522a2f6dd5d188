//! The conversation of one participant with whichever instance answers.
//!
//! One connection reads, and chooses the instance; another one sends, to the same instance. If the
//! instance goes, both go on at another one: what was sent and not acknowledged is sent again with
//! its number, so that it is stored once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use protocol::AgencyId;
use protocol::chat::{
    ChatOutcome, ChatRefusal, ChatRequest, ChatResponse, DirectAddress, Joined, MessageText, Name,
};
use protocol::limits::READ_SECONDS_MAX;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::direct::{self, DirectListener};
use super::keys::Key;
use super::{Agency, Event, Input};
use crate::endpoints::Endpoints;
use crate::settings::Config;

/// How long leaving may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who talks, and with what.
pub(super) struct Conversation {
    pub(super) name: Name,
    pub(super) key: Key,
    pub(super) agency: Agency,
    /// Whether private messages are taken straight from other clients.
    pub(super) takes_direct: bool,
    pub(super) config: Config,
    pub(super) events: Sender<Event>,
}

/// The instance that answers, and where private messages are taken; `None` while there is none.
type Place = Option<(SocketAddr, DirectAddress)>;

/// Talks until the person leaves, or `ended`.
///
/// # Errors
/// The name is refused, or no server has answered for too long.
pub(super) async fn talk(
    conversation: Conversation,
    typed: Receiver<Input>,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let (places, place) = watch::channel(None);
    let mut sender = MessageSender { of: &conversation, place, connection: None, next: 0, typed };
    let talked = tokio::select! {
        read = read(&conversation, &places) => read,
        sent = sender.run() => sent,
        () = ended.cancelled() => Ok(()),
    };
    // Others learn it at once, and not after half a minute.
    let _ = timeout(LEAVE_TIMEOUT, sender.leave()).await;
    talked
}

impl Conversation {
    async fn show(&self, event: Event) {
        // What shows events ends after the conversation.
        let _ = self.events.send(event).await;
    }

    async fn open(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let timeouts = &self.config.timeouts;
        Connection::open(address, timeouts.connect, timeouts.answer).await
    }

    /// Joins over a new connection. The inner error is a refusal: to try again does not help.
    async fn join(
        &self,
        connection: &mut Connection,
        address: DirectAddress,
    ) -> anyhow::Result<Result<Joined, anyhow::Error>> {
        let (name, key, agency) = (self.name.clone(), self.key.get(), self.agency);
        match connection.ask(&ChatRequest::Join { name, key, agency, address }).await? {
            ChatResponse::Joined(ChatOutcome::Done(joined)) => Ok(Ok(joined)),
            ChatResponse::Joined(ChatOutcome::Refused(_, reason)) => Ok(Err(anyhow!(reason))),
            ChatResponse::Joined(ChatOutcome::TryAgain(reason)) => bail!("it could not: {reason}"),
            other => bail!("not an answer to ChatJoin: {other:?}"),
        }
    }
}

/// Reads at one instance after the other.
async fn read(of: &Conversation, places: &watch::Sender<Place>) -> anyhow::Result<()> {
    let timeouts = of.config.timeouts;
    let index = AgencyId::new(rand::random_range(1..=1_000)).context("a number from 1")?;
    let mut endpoints = Endpoints::new(of.config.servers.clone(), index);
    endpoints = endpoints.preferring(of.config.prefer);
    let mut reading = Reading { after: 0, missing: None, direct: None };
    let (mut pause, mut alone_since) = (timeouts.pause_min, Instant::now());
    let mut is_told = false;
    loop {
        let failed = match endpoints.next(timeouts.connect).await {
            Err(error) => anyhow::Error::from(error),
            Ok(choice) => match reading.at(of, choice.address, places).await {
                Ok(never) => match never {},
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Failed { error, has_read }) => {
                    let address = choice.address;
                    if has_read {
                        of.show(Event::Debug(format!("{address} has gone: {error:#}"))).await;
                        endpoints.clear_all_tried();
                        endpoints.note_tried(address);
                        (pause, alone_since) = (timeouts.pause_min, Instant::now());
                        if std::mem::take(&mut is_told) {
                            of.show(Event::Note("a server answers again".to_owned())).await;
                        }
                        continue;
                    }
                    if !choice.is_new_round {
                        of.show(Event::Debug(format!("{address}: {error:#}"))).await;
                        continue;
                    }
                    error
                }
            },
        };
        of.show(Event::Debug(format!("no server answers: {failed:#}"))).await;
        let seconds = timeouts.give_up.as_secs();
        if alone_since.elapsed() > timeouts.give_up {
            return Err(failed.context(format!("no server has answered for {seconds} s")));
        }
        if !is_told && alone_since.elapsed() > Duration::from_secs(2) {
            let text = "all servers are away; what you type is kept and sent when one is back";
            of.show(Event::Note(text.to_owned())).await;
            is_told = true;
        }
        sleep(pause).await;
        pause = (pause * 2).min(timeouts.pause_max);
    }
}

/// Why a participant stops reading at an instance.
enum Stop {
    /// To try again does not help.
    Refused(anyhow::Error),
    /// The instance is gone, or never was there.
    Failed { error: anyhow::Error, has_read: bool },
}

/// What a participant has read, and where others reach them.
struct Reading {
    after: u64,
    missing: Option<u64>,
    direct: Option<DirectListener>,
}

impl Reading {
    /// Reads at one instance until it fails.
    async fn at(
        &mut self,
        of: &Conversation,
        address: SocketAddr,
        places: &watch::Sender<Place>,
    ) -> Result<std::convert::Infallible, Stop> {
        let failed = |error| Stop::Failed { error, has_read: false };
        let mut connection = of.open(address).await.map_err(failed)?;
        let direct = self.listen(of, &connection).await;
        let joined = of.join(&mut connection, direct).await.map_err(failed)?;
        let joined = joined.map_err(Stop::Refused)?;
        of.show(Event::Debug(format!("joined at {address}, position {}", joined.position))).await;
        places.send_replace(Some((address, direct)));
        let error = loop {
            if let Err(error) = self.once(of, &mut connection).await {
                break error;
            }
        };
        places.send_replace(None);
        Err(Stop::Failed { error, has_read: true })
    }

    /// One read.
    async fn once(&mut self, of: &Conversation, connection: &mut Connection) -> anyhow::Result<()> {
        connection.send(&ChatRequest::Read { after: self.after }).await?;
        // The server waits as long, and may wait for a lock.
        let mut limit = Duration::from_secs(READ_SECONDS_MAX) + of.config.timeouts.answer;
        loop {
            match connection.receive(limit).await? {
                ChatResponse::Message(message) => {
                    let position = message.position;
                    // A line that is sent again after a move was shown before.
                    if position > self.after {
                        self.after = position;
                        of.show(Event::Line(message)).await;
                    }
                }
                ChatResponse::Read { position, missing, .. } => {
                    // Another day has begun.
                    self.after = position.min(self.after);
                    if self.missing.replace(missing) != Some(missing) {
                        of.show(Event::Missing(missing)).await;
                    }
                    return Ok(());
                }
                other => bail!("not an answer to ChatRead: {other:?}"),
            }
            limit = of.config.timeouts.answer;
        }
    }

    /// Where private messages are taken: at this end of the connection, which the servers reach, and
    /// so most likely other clients.
    async fn listen(&mut self, of: &Conversation, connection: &Connection) -> DirectAddress {
        let Ok(local) = connection.local_address() else { return DirectAddress::default() };
        if !of.takes_direct {
            return DirectAddress::default();
        }
        if self.direct.as_ref().is_none_or(|direct| direct.address.ip() != local.ip()) {
            let (name, hash) = (of.name.clone(), of.key.get().hash());
            match DirectListener::start(local.ip(), name, hash, of.events.clone()).await {
                Ok(direct) => self.direct = Some(direct),
                Err(error) => of.show(Event::Debug(format!("{error:#}"))).await,
            }
        }
        DirectAddress(self.direct.as_ref().map(|direct| direct.address))
    }
}

/// Sends what is typed, one after the other.
struct MessageSender<'c> {
    of: &'c Conversation,
    place: watch::Receiver<Place>,
    /// The connection, with the instance to which it goes.
    connection: Option<(SocketAddr, Connection)>,
    /// The number of the next message; 0 before the first join.
    next: u64,
    typed: Receiver<Input>,
}

impl MessageSender<'_> {
    /// Sends until there is nothing more.
    async fn run(&mut self) -> anyhow::Result<()> {
        // Knows the number of its first message from the start.
        self.connect().await?;
        while let Some(input) = self.typed.recv().await {
            match input {
                Input::Say(text) => self.send(None, text).await?,
                Input::Private(to, text) => self.private(to, text).await?,
                Input::Who => {
                    if let ChatResponse::Who(names) = self.ask(&ChatRequest::Who).await? {
                        self.of.show(Event::Who(names)).await;
                    }
                }
                Input::Help => self.of.show(Event::Help).await,
                Input::Wrong(reason) => self.of.show(Event::Note(reason)).await,
                Input::Exit => break,
            }
        }
        Ok(())
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        let answer = self.ask(&ChatRequest::Leave).await?;
        self.of.show(Event::Debug(format!("left: {answer:?}"))).await;
        Ok(())
    }

    /// Straight to the other's client if it can be reached, else through the log.
    async fn private(&mut self, to: Name, text: MessageText<'static>) -> anyhow::Result<()> {
        let found = self.ask(&ChatRequest::Where { name: to.clone() }).await?;
        if let ChatResponse::Where { address: DirectAddress(Some(address)), ticket } = found {
            match direct::send(address, &ticket, (&self.of.name, &to), &text).await {
                Ok(()) => {
                    let (from, text) = (self.of.name.clone(), text.as_str().to_owned());
                    self.of.show(Event::Direct { from, to, text }).await;
                    return Ok(());
                }
                Err(error) => {
                    let text = format!("{to} is not reached at {address}: {error:#}");
                    self.of.show(Event::Debug(text)).await;
                }
            }
        }
        let note = format!("{to} is not reached straight: the servers keep it until {to} reads");
        self.of.show(Event::Debug(note)).await;
        self.send(Some(to), text).await
    }

    /// Sends a message until it is stored or refused.
    async fn send(&mut self, to: Option<Name>, text: MessageText<'static>) -> anyhow::Result<()> {
        loop {
            let (sequence, text) = (self.next, text.clone());
            let request = match to.clone() {
                None => ChatRequest::Send { sequence, text },
                Some(to) => ChatRequest::Private { sequence, to, text },
            };
            match self.ask(&request).await? {
                ChatResponse::Sent(ChatOutcome::Done(position)) => {
                    self.next = sequence + 1;
                    let text = format!("message {sequence} is stored at position {position}");
                    self.of.show(Event::Debug(text)).await;
                    return Ok(());
                }
                ChatResponse::Sent(ChatOutcome::TryAgain(reason)) => {
                    self.of.show(Event::Debug(format!("it could not: {reason}"))).await;
                    sleep(self.of.config.timeouts.pause_min).await;
                }
                // Another day has begun: numbers start again.
                ChatResponse::Sent(ChatOutcome::Refused(
                    ChatRefusal::Gap | ChatRefusal::Join,
                    _,
                )) => {
                    (self.connection, self.next) = (None, 0);
                    self.connect().await?;
                }
                ChatResponse::Sent(ChatOutcome::Refused(_, reason)) => {
                    self.of.show(Event::Note(format!("not sent: {reason}"))).await;
                    return Ok(());
                }
                other => bail!("not an answer to a message: {other:?}"),
            }
        }
    }

    /// The answer to a packet, from whichever instance: it is sent again until there is one.
    async fn ask(&mut self, request: &ChatRequest<'_>) -> anyhow::Result<ChatResponse> {
        loop {
            self.connect().await?;
            let Some((address, connection)) = &mut self.connection else { continue };
            match connection.ask(request).await {
                Ok(ChatResponse::Error(reason)) => {
                    let text = format!("{address} answers Error:{reason}");
                    self.of.show(Event::Debug(text)).await;
                }
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let text = format!("{address} has not answered: {error:#}");
                    self.of.show(Event::Debug(text)).await;
                }
            }
            self.connection = None;
            sleep(self.of.config.timeouts.pause_min).await;
        }
    }

    /// Connects to the instance at which this participant reads, once there is one.
    async fn connect(&mut self) -> anyhow::Result<()> {
        let mut place = self.place.clone();
        loop {
            let found = place.wait_for(Option::is_some).await?.context("wait for an instance")?;
            let (address, direct) = found;
            if self.connection.as_ref().is_some_and(|(here, _)| *here == address) {
                return Ok(());
            }
            self.connection = None;
            let joined = async {
                let mut connection = self.of.open(address).await?;
                let joined = self.of.join(&mut connection, direct).await?;
                anyhow::Ok((connection, joined))
            };
            match joined.await {
                Ok((connection, joined)) => {
                    let joined = joined?;
                    if self.next == 0 {
                        self.next = joined.sequence + 1;
                    }
                    self.connection = Some((address, connection));
                    return Ok(());
                }
                Err(error) => {
                    let text = format!("{address}: {error:#}");
                    self.of.show(Event::Debug(text)).await;
                    sleep(self.of.config.timeouts.pause_min).await;
                }
            }
        }
    }
}
