//! The question: how long after somebody has said something everyone reads it.
//!
//! Participants wait on a connection each, spread over the instances. Some of them say something in
//! turn, at a steady rate; the clock runs from the send to the line at each of them. Everything that
//! is read is compared with what was said.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use super::cli::BenchOptions;
use super::foreign::{self, READY_TIMEOUT, STOP_TIMEOUT};
use super::instances::{Instances, counted, memory_mib, processor_time};
use super::place::Place;
use super::results::{BenchResult, MEMORY, Measure, Role, Sample, Unit};
use super::turns::{Entry, Whole};
use harness::log::LogLine;
use harness::numbers::grouped;
use harness::process::ChildProcess;
use harness::raw_connection::RawConnection;

/// How many messages are said in a round.
const MESSAGES: usize = 30;

/// How often. A participant may say five a second; three of them say less.
const EVERY: Duration = Duration::from_millis(80);

/// How often to so many participants that telling one of them after the other takes a while.
const EVERY_TO_MANY: Duration = Duration::from_millis(400);

/// From how many on that is; Redis takes no more with its defaults.
const MANY: u32 = 5_000;

/// How many say something in turn.
const SPEAKERS: usize = 3;

/// How many connections are opened before any of them is used: fewer than may wait to be accepted.
const OPENED_AT_ONCE: usize = 500;

static ACKNOWLEDGED: Measure =
    Measure::less("acknowledged_p50_ms", "answered p50 ms", Unit::Milliseconds);
static READ_P50: Measure = Measure::less("read_p50_ms", "read p50 ms", Unit::Milliseconds);
static READ_P99: Measure = Measure::less("read_p99_ms", "read p99 ms", Unit::Milliseconds);
static PROCESSOR: Measure =
    Measure::less("processor_ms_per_message", "CPU ms/message", Unit::Milliseconds);

const NOTES: [&str; 3] = [
    "From the send to the line at every participant, whichever instance answers them; answered is the \
     sender's own answer, after which the message is durable. CPU is that of all servers, divided by \
     the messages; MiB the most that one of them had resident.",
    "Redis appends each message to a list with appendfsync always, and publishes it then; who is away \
     meanwhile never gets it.",
    "Every participant has read every message once, in one order.",
];

/// Measures all cases.
///
/// # Errors
/// A server fails, or a message does not come.
pub async fn ask(options: &BenchOptions, place: &Place) -> anyhow::Result<BenchResult> {
    let mut cases = Vec::new();
    for participants in settings(options) {
        let name = format!("{} participants", grouped(participants.into()));
        place.note(&format!("messages: {name}"));
        let enter = |count: u8| {
            let talk = move || ours(&place.binary, count, participants, place);
            Entry::new(&counted(count), Role::Ours, Whole(async move || talk().await))
        };
        let mut entries: Vec<_> = options.instances().into_iter().map(enter).collect();
        if !options.no_peers && participants < MANY {
            entries.push(redis(participants, place));
        }
        let parameters = [("participants", participants.into())];
        cases.push(place.measure(name, &parameters, entries).await?);
    }
    Ok(BenchResult {
        question: "messages",
        title: "from a message to everyone who waits for it",
        cases,
        notes: NOTES.to_vec(),
    })
}

fn settings(options: &BenchOptions) -> Vec<u32> {
    match options.waiting.as_slice() {
        [] if options.quick => vec![3, 100],
        [] => vec![3, 1_000, 10_000],
        given => given.to_vec(),
    }
}

/// When each message was sent, and how long each reading and each answer took, in ms.
#[derive(Default)]
struct Times {
    sent: Vec<Instant>,
    read: Vec<f64>,
    answered: Vec<f64>,
}

type SharedTimes = Rc<RefCell<Times>>;

fn since(start: Option<&Instant>) -> anyhow::Result<f64> {
    Ok(start.context("a message that was not sent")?.elapsed().as_secs_f64() * 1_000.0)
}

/// The median and the 99th percentile.
fn percentiles(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1)));
    let value = |share| at(share).copied().unwrap_or(f64::NAN);
    (value(50), value(99))
}

/// A packet that says message `number`, and the start of its answers.
trait Speaker {
    async fn say(&mut self, number: usize) -> anyhow::Result<()>;
}

/// Says all messages in turn, each at its moment.
async fn speak(
    speakers: &mut [impl Speaker],
    every: Duration,
    times: &SharedTimes,
) -> anyhow::Result<()> {
    let mut due = Instant::now();
    for number in 0..MESSAGES {
        sleep_until(due).await;
        due += every;
        let start = Instant::now();
        times.borrow_mut().sent.push(start);
        let place = number % speakers.len().max(1);
        speakers.get_mut(place).context("find a speaker")?.say(number).await?;
        times.borrow_mut().answered.push(since(Some(&start))?);
    }
    Ok(())
}

fn sample(times: SharedTimes, processor: Duration, memory: f64) -> Sample {
    let times = times.take();
    let (read_p50, read_p99) = percentiles(times.read);
    let (answered, _) = percentiles(times.answered);
    let processor = processor.as_secs_f64() * 1_000.0 / MESSAGES as f64;
    vec![
        (&ACKNOWLEDGED, answered),
        (&READ_P50, read_p50),
        (&READ_P99, read_p99),
        (&PROCESSOR, processor),
        (&MEMORY, memory),
    ]
}

/// Our instances.
async fn ours(
    binary: &Path,
    count: u8,
    participants: u32,
    place: &Place,
) -> anyhow::Result<Sample> {
    let directory = place.directory("messages")?;
    let instances = Instances::start(binary, count, 1, directory.path()).await?;
    let addresses = instances.addresses();
    let (mut readers, mut speakers) = (Vec::new(), Vec::new());
    let names: Vec<String> = (0..participants).map(|who| format!("p{who}")).collect();
    let mut last = 0;
    for (names, start) in names.chunks(OPENED_AT_ONCE).zip((0..).step_by(OPENED_AT_ONCE)) {
        let opening = names.iter().zip(start..).map(|(name, who)| join(&addresses, name, who));
        for joined in try_join_all(opening).await? {
            last = last.max(joined.1);
            readers.push(joined.0);
        }
    }
    for (name, who) in names.iter().take(SPEAKERS).zip(0..) {
        let (connection, position) = join(&addresses, name, who).await?;
        last = last.max(position);
        speakers.push(OurSpeaker { connection, sequence: 0 });
    }
    let (times, before) = (SharedTimes::default(), instances.processor_time()?);
    let reading = readers.iter_mut().map(|reader| read(reader, last, &times));
    let every = if participants < MANY { EVERY } else { EVERY_TO_MANY };
    tokio::try_join!(try_join_all(reading), speak(&mut speakers, every, &times))?;
    let processor = instances.processor_time()?.saturating_sub(before);
    let memory = instances.memory_mib()?;
    drop((readers, speakers));
    instances.stop().await?;
    Ok(sample(times, processor, memory))
}

/// A connection of a participant, with the position at which it joined.
async fn join(
    addresses: &[SocketAddr],
    name: &str,
    who: usize,
) -> anyhow::Result<(RawConnection, u64)> {
    let address = addresses.get(who % addresses.len().max(1)).context("find an instance")?;
    let mut connection = RawConnection::open(*address).await?;
    let answer = connection.ask(&format!("ChatJoin:{name};keyof{name}key;;")).await?;
    let position = answer.strip_prefix("ChatJoinResponse:0;").and_then(|it| it.split(';').next());
    let position = position.with_context(|| format!("{answer} to a join"))?;
    Ok((connection, position.parse().context("read a position")?))
}

/// Reads until every message was read, each once and in order.
async fn read(
    connection: &mut RawConnection,
    mut after: u64,
    times: &SharedTimes,
) -> anyhow::Result<()> {
    let mut next = 0;
    while next < MESSAGES {
        connection.send(format!("ChatRead:{after}\n")).await?;
        loop {
            let line = connection.line().await?;
            if let Some(rest) = line.strip_prefix("ChatReadResponse:") {
                after = rest.split(';').next().unwrap_or_default().parse().context("a position")?;
                break;
            }
            let Some((_, number)) = line.split_once("message number ") else { continue };
            ensure!(number.parse() == Ok(next), "{line} instead of message {next}");
            let mut times = times.borrow_mut();
            let took = since(times.sent.get(next))?;
            times.read.push(took);
            next += 1;
        }
    }
    Ok(())
}

struct OurSpeaker {
    connection: RawConnection,
    sequence: u64,
}

impl Speaker for OurSpeaker {
    async fn say(&mut self, number: usize) -> anyhow::Result<()> {
        self.sequence += 1;
        let packet = format!("ChatSend:{};message number {number}", self.sequence);
        let answer = self.connection.ask(&packet).await?;
        ensure!(answer.starts_with("ChatSendResponse:0;"), "{answer} to a message");
        Ok(())
    }
}

/// Redis, if it is installed.
fn redis(participants: u32, place: &Place) -> Entry<'_> {
    let Some(program) = foreign::find("redis-server") else {
        return Entry::absent("Redis", "not installed: apt-get install redis-server");
    };
    Entry::new(
        "Redis",
        Role::Peer,
        Whole(async move || publish(&program, participants, place).await),
    )
}

/// A Redis of its own that appends, syncs and publishes.
async fn publish(program: &Path, participants: u32, place: &Place) -> anyhow::Result<Sample> {
    let directory = place.directory("redis")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, foreign::free_port()?));
    let port = address.port().to_string();
    let settings = "--bind 127.0.0.1 --appendonly yes --appendfsync always --loglevel notice \
                    --logfile redis.log --daemonize no --port";
    let mut arguments: Vec<&str> = settings.split_whitespace().collect();
    arguments.extend([port.as_str(), "--save", ""]);
    let launch = foreign::launch(program, None, &arguments);
    let mut process = ChildProcess::spawn("redis", &launch, directory.path())?;
    let is_ready = |line: LogLine<'_>| line.0.contains("Ready to accept connections");
    process.wait_for("that it is ready", READY_TIMEOUT, is_ready).await?;
    let mut readers = Vec::new();
    for _ in 0..participants {
        let mut reader = RawConnection::open(address).await?;
        reader.send("SUBSCRIBE room\r\n").await?;
        // `*3`, `$9 subscribe`, `$4 room`, `:1`
        for _ in 0..6 {
            reader.line().await?;
        }
        readers.push(reader);
    }
    let mut speakers = Vec::new();
    for _ in 0..SPEAKERS {
        speakers.push(RedisSpeaker(RawConnection::open(address).await?));
    }
    let (times, before) = (SharedTimes::default(), processor_time(&process)?);
    let reading = readers.iter_mut().map(|reader| receive(reader, &times));
    tokio::try_join!(try_join_all(reading), speak(&mut speakers, EVERY, &times))?;
    let processor = processor_time(&process)?.saturating_sub(before);
    let memory = memory_mib(&process)?;
    drop((readers, speakers));
    process.stop(Signal::TERM, STOP_TIMEOUT).await?;
    Ok(sample(times, processor, memory))
}

/// Receives every message that is published.
async fn receive(connection: &mut RawConnection, times: &SharedTimes) -> anyhow::Result<()> {
    let mut next = 0;
    while next < MESSAGES {
        let line = connection.line().await?;
        let Some(number) = line.trim_end().strip_prefix("message-number-") else { continue };
        ensure!(number.parse() == Ok(next), "{line} instead of message {next}");
        let mut times = times.borrow_mut();
        let took = since(times.sent.get(next))?;
        times.read.push(took);
        next += 1;
    }
    Ok(())
}

struct RedisSpeaker(RawConnection);

impl Speaker for RedisSpeaker {
    async fn say(&mut self, number: usize) -> anyhow::Result<()> {
        for command in ["RPUSH log", "PUBLISH room"] {
            let answer = self.0.ask(&format!("{command} message-number-{number}\r")).await?;
            ensure!(answer.starts_with(':'), "{answer} to {command}");
        }
        Ok(())
    }
}
