//! The store of messages on the files of a volume: `messages.csv`, a log of the same kind as
//! `bets.csv`, with a lock and a thread of its own.
//!
//! **Invariant**: what is published, and what is answered, is durable.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use journal::disk::{Disk, RealDisk};
use journal::{Fold, Log, LogPaths, OthersWrite, WaitEnd};
use memchr::memchr;
use messages::{Command, Decision, Line, Online, Participant, State, View};
use protocol::chat::{MessageText, Name};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

use super::StoreEnd;
use super::alerts;
use super::error::StoreError;
use super::life::{self, Life};
use super::names::{ARCHIVING, LOCKS, MESSAGES};
use super::outage::{Outages, Progress};
use super::settings::OpenError;
use crate::limits::{
    ANSWER_LINES_MAX, LOOK_INTERVAL, MESSAGES_AT_ONCE, RECENT_LINES, SETTLE_TIMEOUT,
    STORE_STACK_BYTES,
};
use crate::store::messages::{Commanded, MessageStore, ReadLines};
use crate::store::{Unavailable, Unknown};

/// The settings of the store of messages.
#[derive(Debug, Clone)]
pub struct MessageSettings {
    /// The directory that all instances share.
    pub volume: PathBuf,
    /// The name of this instance.
    pub instance: String,
    /// How many participants must be online before anyone reads; 0: none.
    pub minimum: u64,
    /// How long a lock is waited for at the most.
    pub lock_timeout: Duration,
}

/// The store of messages on the files of a volume.
pub struct FileMessages<D: Disk = RealDisk> {
    work: Sender<Work>,
    /// Room for what waits for the thread.
    room: Arc<Semaphore>,
    known: Arc<RwLock<Known>>,
    view: watch::Receiver<View>,
    disk: Arc<D>,
    settings: Arc<MessageSettings>,
}

impl<D: Disk> Clone for FileMessages<D> {
    fn clone(&self) -> Self {
        Self {
            work: self.work.clone(),
            room: Arc::clone(&self.room),
            known: Arc::clone(&self.known),
            view: self.view.clone(),
            disk: Arc::clone(&self.disk),
            settings: Arc::clone(&self.settings),
        }
    }
}

/// What the thread is asked to do.
enum Work {
    Command(Command, Instant, OwnedSemaphorePermit, oneshot::Sender<Commanded>),
    Read(u64, OwnedSemaphorePermit, oneshot::Sender<Result<ReadLines, Unavailable>>),
    Look,
}

const ENDED: &str = "the server is ending";
const FULL: &str = "too many messages wait to be stored";

impl<D: Disk> FileMessages<D> {
    /// Opens the log of the volume, and starts its thread. After `wait_end` no lock is waited for.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        disk: D,
        settings: MessageSettings,
        wait_end: &WaitEnd,
    ) -> Result<(Self, StoreEnd), OpenError> {
        let path = settings.volume.clone();
        let unusable = |error| OpenError::Unusable(path.clone(), error);
        let (disk, settings) = (Arc::new(disk), Arc::new(settings));
        let life = Life::begin(&*disk, &settings).map_err(unusable)?;
        let log = MessageLog::open(Arc::clone(&disk), Arc::clone(&settings), wait_end);
        let mut log = log.map_err(unusable)?;
        let (known, view) = (Arc::clone(&log.known), log.publish.subscribe());
        let (work, asked) = channel();
        let room = Arc::new(Semaphore::new(MESSAGES_AT_ONCE));
        let (ended, end) = oneshot::channel();
        thread::Builder::new()
            .name("messages".to_owned())
            .stack_size(STORE_STACK_BYTES)
            .spawn(move || {
                let ran = log.run(&asked);
                drop(life);
                ended.send(ran)
            })
            .map_err(unusable)?;
        Ok((Self { work, room, known, view, disk, settings }, StoreEnd(end)))
    }
}

impl<D: Disk> FileMessages<D> {
    /// Room for one request, waited for no longer than a lock.
    async fn wait_for_room(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.room).acquire_owned();
        timeout(self.settings.lock_timeout, permit).await.ok()?.ok()
    }
}

/// Opens the log of messages.
pub(super) fn open_log<D: Disk>(
    disk: &Arc<D>,
    volume: &Path,
    wait_end: &WaitEnd,
) -> io::Result<Log<D>> {
    let paths = LogPaths {
        directory: volume.to_owned(),
        log: MESSAGES,
        locks: LOCKS,
        lock: "messages.lock",
        ring: "messages.intent",
    };
    Log::open(Arc::clone(disk), paths, wait_end, OthersWrite::Rows)
}

/// Stores one notice of an operator; returns its position.
///
/// # Errors
/// [`OpenError`], or why it is not stored, for people.
pub fn notice(
    disk: impl Disk,
    settings: MessageSettings,
    to: Option<Name>,
    text: MessageText<'static>,
) -> anyhow::Result<u64> {
    let (path, deadline) = (settings.volume.clone(), Instant::now() + settings.lock_timeout);
    let unusable = |error| OpenError::Unusable(path, error);
    let log = MessageLog::open(Arc::new(disk), Arc::new(settings), &WaitEnd::default());
    let mut log = log.map_err(unusable)?;
    let (reply, mut replied) = oneshot::channel();
    let command = Command::Notice { to, text };
    let mut group = vec![Pending { command, reply, _permit: None }];
    log.commit(&mut group, deadline).context("store the notice")?;
    match replied.try_recv()? {
        Commanded::Stored(position) => Ok(position),
        Commanded::TryAgain(reason) | Commanded::Refused(_, reason) => anyhow::bail!(reason),
    }
}

/// Hands every line of the log to `show`, with its position, and with `follow` those that come, until
/// it returns false.
///
/// # Errors
/// [`OpenError`], or the log cannot be read.
pub fn follow(
    disk: impl Disk,
    settings: MessageSettings,
    follow: bool,
    show: impl FnMut(u64, &Line) -> bool,
) -> anyhow::Result<()> {
    let path = settings.volume.clone();
    let unusable = |error| OpenError::Unusable(path, error);
    let (disk, lock_timeout) = (Arc::new(disk), settings.lock_timeout);
    let mut log = open_log(&disk, &settings.volume, &WaitEnd::default()).map_err(unusable)?;
    let mut shown = Shown { position: 0, goes_on: true, show };
    loop {
        // Under the lock, so that a group is shown only when it is whole.
        if log.has_changed()? {
            log.lock(Instant::now() + lock_timeout, &mut shown).context("read the messages")?;
        }
        if !(follow && shown.goes_on) {
            return Ok(());
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Lines that are shown as they are read.
struct Shown<S> {
    position: u64,
    goes_on: bool,
    show: S,
}

impl<S: FnMut(u64, &Line) -> bool> Fold for Shown<S> {
    fn first_line(&mut self, _offset: u64, lines: &[u8]) -> (usize, bool) {
        let bytes = memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        let line = Line::parse(lines.get(..bytes).unwrap_or_default());
        if let Some(line) = &line {
            self.position += 1;
            self.goes_on = self.goes_on && (self.show)(self.position, line);
        }
        (bytes, line.is_some())
    }

    fn reset(&mut self) {
        self.position = 0;
    }
}

/// What the lines of the log are applied to by who only moves it.
pub(super) struct Ignored;

impl Fold for Ignored {
    fn first_line(&mut self, _offset: u64, lines: &[u8]) -> (usize, bool) {
        (lines.len(), true)
    }

    fn reset(&mut self) {}
}

impl<D: Disk> MessageStore for FileMessages<D> {
    async fn command(&self, command: Command) -> Result<Commanded, Unknown> {
        let (since, (reply, replied)) = (Instant::now(), oneshot::channel());
        let Some(permit) = self.wait_for_room().await else {
            return Ok(Commanded::TryAgain(FULL.to_owned()));
        };
        match self.work.send(Work::Command(command, since, permit, reply)) {
            Ok(()) => replied.await.map_err(|_| Unknown),
            Err(_) => Ok(Commanded::TryAgain(ENDED.to_owned())),
        }
    }

    fn recent_lines(&self, after: u64) -> Option<ReadLines> {
        let end = self.view.borrow().position;
        if after >= end { Some(Vec::new()) } else { read(&self.known).recent_lines(after, end) }
    }

    async fn read_lines(&self, after: u64) -> Result<ReadLines, Unavailable> {
        let (reply, replied) = oneshot::channel();
        let refused = |reason: &str| Err(Unavailable(reason.to_owned()));
        let Some(permit) = self.wait_for_room().await else { return refused(FULL) };
        match self.work.send(Work::Read(after, permit, reply)) {
            Ok(()) => replied.await.unwrap_or_else(|_| refused(ENDED)),
            Err(_) => refused(ENDED),
        }
    }

    fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    fn look(&self) {
        // A thread that has ended looks at nothing.
        let _ = self.work.send(Work::Look);
    }

    fn online(&self) -> Vec<Online> {
        read(&self.known).state.online()
    }

    fn participant(&self, name: &Name) -> Option<Participant> {
        read(&self.known).state.participant(name).cloned()
    }

    fn last_event(&self, subject: &str) -> Option<String> {
        read(&self.known).state.last_event(subject).map(str::to_owned)
    }

    async fn is_alive(&self, instance: &str) -> bool {
        let (disk, volume) = (Arc::clone(&self.disk), self.settings.volume.clone());
        let (is_own, instance) = (instance == self.settings.instance, instance.to_owned());
        let is_alive = move || life::is_alive(&*disk, &volume, &instance);
        is_own || tokio::task::spawn_blocking(is_alive).await.unwrap_or(true)
    }
}

/// What is known of the log.
struct Known {
    state: State,
    /// Where in the file every [`INDEX_STEP`]th line begins, from the first one on.
    index: Vec<u64>,
    /// The last lines, the newest last.
    recent: VecDeque<Arc<Line>>,
}

/// A read looks at so many lines in vain at the most.
const INDEX_STEP: u64 = 64;

impl Known {
    fn new(minimum: u64) -> Self {
        Self { state: State::new(minimum), index: Vec::new(), recent: VecDeque::new() }
    }

    /// Applies the next line, which begins at `offset` in the file. False if it makes no sense.
    fn apply(&mut self, offset: u64, line: Line) -> bool {
        if self.state.lines().is_multiple_of(INDEX_STEP) {
            self.index.push(offset);
        }
        let makes_sense = self.state.apply(&line);
        if self.recent.len() == RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::new(line));
        makes_sense
    }

    /// The lines behind `after`, if they are kept: `None` if they have to be read.
    fn recent_lines(&self, after: u64, end: u64) -> Option<ReadLines> {
        let first = self.state.lines() - self.recent.len() as u64;
        let skip = usize::try_from(after.checked_sub(first)?).ok()?;
        let lines = self.recent.iter().skip(skip).cloned();
        Some((after + 1..=end).zip(lines).take(ANSWER_LINES_MAX).collect())
    }
}

/// What is known, as the lines of the file are applied to it. It is not locked while the file's lock
/// is waited for: connections ask meanwhile.
struct Shared<'k>(&'k RwLock<Known>);

impl Fold for Shared<'_> {
    fn first_line(&mut self, offset: u64, lines: &[u8]) -> (usize, bool) {
        let bytes = memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        let line = Line::parse(lines.get(..bytes).unwrap_or_default());
        (bytes, line.is_some_and(|line| write(self.0).apply(offset, line)))
    }

    fn reset(&mut self) {
        let mut known = write(self.0);
        known.state.reset();
        known.index.clear();
        known.recent.clear();
    }
}

fn read(known: &RwLock<Known>) -> RwLockReadGuard<'_, Known> {
    known.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(known: &RwLock<Known>) -> RwLockWriteGuard<'_, Known> {
    known.write().unwrap_or_else(PoisonError::into_inner)
}

/// The files, as the thread has them.
pub(super) struct MessageLog<D: Disk> {
    disk: Arc<D>,
    log: Log<D>,
    known: Arc<RwLock<Known>>,
    publish: watch::Sender<View>,
    outages: Outages,
    settings: Arc<MessageSettings>,
}

/// A command that waits, with where its reply goes.
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Commanded>,
    /// Its room in the queue; none if it never was in it.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl<D: Disk> MessageLog<D> {
    pub(super) fn open(
        disk: Arc<D>,
        settings: Arc<MessageSettings>,
        wait_end: &WaitEnd,
    ) -> io::Result<Self> {
        disk.create_directory(&settings.volume.join(LOCKS))?;
        let log = open_log(&disk, &settings.volume, wait_end)?;
        let known = Known::new(settings.minimum);
        let publish = watch::Sender::new(known.state.view());
        let (known, outages) = (Arc::new(RwLock::new(known)), Outages::default());
        Ok(Self { disk, log, known, publish, outages, settings })
    }

    /// Works until every sender is gone, or something broke: what was not answered then is unknown.
    fn run(&mut self, asked: &Receiver<Work>) -> Result<(), StoreError> {
        let mut last_look = Instant::now();
        self.serve(Vec::new(), last_look)?;
        loop {
            let wait = LOOK_INTERVAL.saturating_sub(last_look.elapsed());
            let first = match asked.recv_timeout(wait) {
                Ok(work) => Some(work),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut group, mut oldest, mut reads) = (Vec::new(), Instant::now(), Vec::new());
            for work in first.into_iter().chain(asked.try_iter().take(MESSAGES_AT_ONCE)) {
                match work {
                    Work::Command(command, since, permit, reply) => {
                        oldest = oldest.min(since);
                        group.push(Pending { command, reply, _permit: Some(permit) });
                    }
                    Work::Read(after, permit, reply) => reads.push((after, permit, reply)),
                    Work::Look => {}
                }
            }
            if !group.is_empty() || reads.is_empty() {
                last_look = Instant::now();
                self.serve(group, oldest)?;
            }
            for (after, _permit, reply) in reads {
                let lines = self.read(after);
                let lines = self.watch_outages(lines, |_| Progress::Outside)?;
                let _ = reply.send(lines);
            }
        }
        // Best left tidy, but right all the same: the next instance recovers what is pending.
        match self.settle(Instant::now() + SETTLE_TIMEOUT / 2) {
            Err(error) if error.is_broken() => Err(error),
            _ => Ok(()),
        }
    }

    /// Commits a group, which may be empty: then it only looks.
    fn serve(&mut self, mut group: Vec<Pending>, oldest: Instant) -> Result<(), StoreError> {
        let deadline = oldest + self.settings.lock_timeout;
        if group.is_empty() && !self.log.has_changed().unwrap_or(true) {
            return Ok(());
        }
        let committed = self.commit(&mut group, deadline);
        let committed =
            self.watch_outages(committed, |has_appended| Progress::of(*has_appended))?;
        if let Err(Unavailable(reason)) = committed {
            for pending in group {
                let _ = pending.reply.send(Commanded::TryAgain(reason.clone()));
            }
        }
        Ok(())
    }

    /// Locks, recovers, catches up, decides, writes the intent, appends, unlocks, applies, syncs,
    /// publishes, answers. Returns whether anything was appended.
    pub(super) fn commit(
        &mut self,
        group: &mut Vec<Pending>,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        let marker = self.settings.volume.join(LOCKS).join(ARCHIVING);
        let (mut locked, found) = self.log.lock(deadline, &mut Shared(&self.known))?;
        alerts::report(locked.path(), found);
        // Archived, or changed by hand: what is there now was folded anew.
        if locked.take_external_change().is_some_and(|change| !change.is_renamed) {
            alerts::report_messages_changed(locked.path());
        }
        if self.disk.find(&marker).map_err(|error| StoreError::read(&marker, error))?.is_some() {
            return Err(StoreError::Archiving);
        }
        let (decisions, lines) = {
            let known = read(&self.known);
            let mut plan = known.state.plan(now());
            let decide = |pending: &Pending| plan.decide(&pending.command);
            (group.iter().map(decide).collect::<Vec<_>>(), plan.into_lines())
        };
        let (mut bytes, mut starts) = (locked.separator().as_bytes().to_vec(), Vec::new());
        for line in &lines {
            starts.push(locked.applied() + bytes.len() as u64);
            line.write(&mut bytes);
        }
        if !lines.is_empty() {
            locked.write_intent(&bytes)?;
            locked.append(&bytes)?;
        }
        drop(locked);
        let has_appended = !lines.is_empty();
        let mut known = write(&self.known);
        for (start, line) in starts.into_iter().zip(lines) {
            known.apply(start, line);
        }
        let view = known.state.view();
        drop(known);
        self.log.mark_applied();
        self.log.sync()?;
        self.publish.send_if_modified(|published| std::mem::replace(published, view) != view);
        for (pending, decision) in group.drain(..).zip(decisions) {
            let commanded = match decision {
                Decision::Stored(position) => Commanded::Stored(position),
                Decision::Refuse(refusal, reason) => Commanded::Refused(refusal, reason),
            };
            let _ = pending.reply.send(commanded);
        }
        Ok(has_appended)
    }

    /// Lines that are not kept in memory, from the file.
    pub(super) fn read(&mut self, after: u64) -> Result<ReadLines, StoreError> {
        let end = self.publish.borrow().position.min(after + ANSWER_LINES_MAX as u64);
        let step = usize::try_from(after / INDEX_STEP).unwrap_or(usize::MAX);
        let Some(start) = read(&self.known).index.get(step).copied() else {
            return Ok(Vec::new());
        };
        let (mut position, mut lines) = (after / INDEX_STEP * INDEX_STEP, Vec::new());
        self.log.read_from(start, |block| {
            for line in block.split_inclusive(|byte| *byte == b'\n').filter_map(Line::parse) {
                position += 1;
                if position > after && position <= end {
                    lines.push((position, Arc::new(line)));
                }
            }
            position < end
        })?;
        Ok(lines)
    }

    fn settle(&mut self, deadline: Instant) -> Result<(), StoreError> {
        let (mut locked, _) = self.log.lock(deadline, &mut Shared(&self.known))?;
        Ok(locked.settle()?)
    }

    /// Alerts an operator when storing begins to fail and when it works again. Only an error that
    /// ends the instance stays one.
    fn watch_outages<T>(
        &mut self,
        result: Result<T, StoreError>,
        progress: impl FnOnce(&T) -> Progress,
    ) -> Result<Result<T, Unavailable>, StoreError> {
        let bytes = self.log.applied();
        match result {
            Ok(done) => {
                self.outages.succeeded(progress(&done), bytes, true, Instant::now());
                Ok(Ok(done))
            }
            Err(error) => {
                let found = self.log.take_found();
                alerts::report(self.log.path(), found);
                self.outages.failed(&error, bytes, Instant::now());
                if error.is_broken() { Err(error) } else { Ok(Err(Unavailable(error.reason()))) }
            }
        }
    }
}

/// The time of new lines, in milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
