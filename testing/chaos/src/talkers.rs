//! Participants who talk while faults happen: they join and leave, say something to all and to one,
//! read all the time, and use whichever server answers.
//!
//! Shares no code with server, client or protocol.
//!
//! **Invariant**: a message that was answered with a position stands there, once, for everyone who
//! reads; positions have no gaps; nobody but its two participants reads a private one.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::registry::ServerRegistry;
use crate::report::Report;
use harness::raw_connection::RawConnection;
use harness::rng::Rng;
use harness::volume::Volume;

/// How many participants talk.
const TALKERS: u64 = 6;

/// How long one packet may take: the 5 s of a lock, and what a busy machine needs. Of a server that
/// is paused no answer comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long all of them may take to say the last word once the faults are over.
const FINISH_TIMEOUT: Duration = Duration::from_secs(90);

/// What one participant was answered: by the number of each message, its position, to whom it was,
/// and its text.
type Said = BTreeMap<u64, (u64, String, String)>;

/// The participants of a run.
pub struct Talkers {
    talking: JoinSet<anyhow::Result<(String, Said)>>,
    reading: JoinSet<anyhow::Result<()>>,
    /// From when on nothing is said any more.
    over: CancellationToken,
    report: Report,
}

/// What everyone read at each position.
type Read = Arc<Mutex<BTreeMap<u64, String>>>;

impl Talkers {
    /// Starts them.
    pub fn start(registry: &ServerRegistry, seed: u64, report: &Report) -> Self {
        let over = CancellationToken::new();
        let (mut talking, mut reading) = (JoinSet::new(), JoinSet::new());
        let read = Read::default();
        for who in 0..TALKERS {
            let rng = Rng::new(seed).fork(TALKERS_PART + who);
            let name = format!("talker-{who}");
            let talker = Talker {
                servers: Servers { registry: registry.clone(), rng, name: name.clone() },
                said: Said::new(),
                over: over.clone(),
                report: report.clone(),
            };
            talking.spawn(talker.run());
            let rng = Rng::new(seed).fork(TALKERS_PART + TALKERS + who);
            let servers = Servers { registry: registry.clone(), rng, name };
            reading.spawn(read_on(servers, Arc::clone(&read), over.clone()));
        }
        Self { talking, reading, over, report: report.clone() }
    }

    /// Has everyone say the last word, and compares what was answered with what is stored.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn finish(mut self, volume: &Volume) -> anyhow::Result<()> {
        self.over.cancel();
        let mut all = Vec::new();
        let finished = timeout(FINISH_TIMEOUT, async {
            while let Some(talked) = self.talking.join_next().await {
                all.push(talked.context("follow a participant")??);
            }
            while let Some(read) = self.reading.join_next().await {
                read.context("follow a reader")??;
            }
            anyhow::Ok(())
        });
        match finished.await {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => self.report.violation(format!("messages: {wrong:#}")),
            Err(_) => {
                let seconds = FINISH_TIMEOUT.as_secs();
                self.report.violation(format!("participants still talk after {seconds} s"));
                return Ok(());
            }
        }
        let lines = lines_of(volume)?;
        for wrong in check_lines(&lines, &all) {
            self.report.violation(format!("messages.csv: {wrong}"));
        }
        Ok(())
    }
}

/// The part of a seed that decides for the participants.
const TALKERS_PART: u64 = 3_000;

/// Who speaks, and where servers are.
struct Servers {
    registry: ServerRegistry,
    rng: Rng,
    name: String,
}

impl Servers {
    /// A connection to some server, as this participant.
    async fn join(&mut self) -> anyhow::Result<RawConnection> {
        let place = self.rng.between(0, self.registry.count().saturating_sub(1) as u64);
        let address = self.registry.address(place as usize).context("choose a server")?;
        let join = async {
            let mut connection = RawConnection::open(address).await?;
            let name = &self.name;
            let answer = connection.ask(&format!("ChatJoin:{name};keyof{};;", plain(name))).await?;
            ensure!(!answer.starts_with("ChatJoinResponse:2"), "{WRONG}: {answer}");
            ensure!(answer.starts_with("ChatJoinResponse:0;"), "{answer}");
            Ok(connection)
        };
        timeout(ANSWER_TIMEOUT, join).await?
    }
}

/// A key has letters and digits only.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// What starts an error that no fault explains.
const WRONG: &str = "wrong";

/// Whether no fault explains an error.
fn is_wrong(error: &anyhow::Error) -> bool {
    error.to_string().starts_with(WRONG)
}

/// A participant who talks.
struct Talker {
    servers: Servers,
    said: Said,
    over: CancellationToken,
    report: Report,
}

impl Talker {
    /// Talks until it is over; every message is answered in the end.
    async fn run(mut self) -> anyhow::Result<(String, Said)> {
        let mut connection = None;
        while !self.over.is_cancelled() {
            let sequence = self.said.len() as u64 + 1;
            let to = match self.servers.rng.chance(25) {
                true => format!("talker-{}", self.servers.rng.between(0, TALKERS - 1)),
                false => String::new(),
            };
            let text = format!("{}, \"{sequence}\"; to: {to}", self.servers.name);
            self.say(&mut connection, sequence, &to, &text).await?;
            if self.servers.rng.chance(15) {
                self.leave(&mut connection).await;
            }
            let pause = self.servers.rng.millis(20, 400);
            let _ = self.over.run_until_cancelled(sleep(pause)).await;
        }
        Ok((self.servers.name, self.said))
    }

    /// Says one thing until it is answered with its position.
    async fn say(
        &mut self,
        connection: &mut Option<RawConnection>,
        sequence: u64,
        to: &str,
        text: &str,
    ) -> anyhow::Result<()> {
        let packet = match to {
            "" => format!("ChatSend:{sequence};{text}"),
            to => format!("ChatPrivate:{sequence};{to};{text}"),
        };
        loop {
            // It goes on at another server now and then, as if it had been told to.
            if self.servers.rng.chance(20) {
                *connection = None;
            }
            match self.ask(connection, &packet).await {
                Ok(answer) => match answer.strip_prefix("ChatSendResponse:") {
                    Some(rest) if rest.starts_with("0;") => {
                        let position = rest[2..].parse().context("read a position")?;
                        let said = (position, to.to_owned(), text.to_owned());
                        self.said.insert(sequence, said);
                        return Ok(());
                    }
                    // The other one has never joined so far, or has left this connection.
                    Some(rest) if rest.starts_with("2;to ") || rest.starts_with("2;join ") => {}
                    Some(rest) if rest.starts_with("1;") => {}
                    _ => bail!("{WRONG}: {packet:?} got {answer:?}"),
                },
                Err(error) if is_wrong(&error) => return Err(error),
                Err(_) => {}
            }
            *connection = None;
            sleep(self.servers.rng.millis(10, 100)).await;
        }
    }

    async fn ask(
        &mut self,
        connection: &mut Option<RawConnection>,
        packet: &str,
    ) -> anyhow::Result<String> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.servers.join().await?),
        };
        timeout(ANSWER_TIMEOUT, open.ask(packet)).await?
    }

    async fn leave(&mut self, connection: &mut Option<RawConnection>) {
        if self.ask(connection, "ChatLeave:").await.is_ok() {
            self.report.fault("participant who left");
        }
        *connection = None;
    }
}

/// Reads at one server after the other, from where the last one ended, until nothing new comes.
async fn read_on(mut servers: Servers, read: Read, over: CancellationToken) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let mut connection = match servers.join().await {
            Ok(connection) => connection,
            Err(error) if is_wrong(&error) => return Err(error),
            Err(_) => {
                sleep(servers.rng.millis(10, 100)).await;
                continue;
            }
        };
        // It goes on at another server after a while.
        for _ in 0..servers.rng.between(1, 20) {
            let reading = once(&mut connection, &servers.name, &mut after, &read);
            let is_over = over.is_cancelled();
            // A read that waits for new lines ends when there is nothing more to come.
            let waiting = async {
                over.cancelled().await;
                sleep(QUIET).await;
            };
            tokio::select! {
                done = reading => match done {
                    Ok(()) => {}
                    Err(error) if is_wrong(&error) => return Err(error),
                    Err(_) => break,
                },
                () = waiting => if is_over { return Ok(()) } else { break },
            }
        }
    }
}

/// When no line has come for so long after the last word, none comes.
const QUIET: Duration = Duration::from_secs(2);

/// One read: every line behind the last one, as everyone else has read it.
async fn once(
    connection: &mut RawConnection,
    name: &str,
    after: &mut u64,
    read: &Read,
) -> anyhow::Result<()> {
    connection.send(format!("ChatRead:{after}\n")).await?;
    loop {
        // `line` waits for 20 s at the most, and a server for 30 s: such a read is made again.
        let line = connection.line().await?;
        if let Some(rest) = line.strip_prefix("ChatReadResponse:") {
            let position: u64 = rest.split(';').next().unwrap_or_default().parse()?;
            ensure!(position == *after, "{WRONG}: {line} after position {after}");
            return Ok(());
        }
        let rest = line.strip_prefix("ChatMessage:").with_context(|| line.clone())?;
        let fields: Vec<&str> = rest.splitn(6, ';').collect();
        let &[position, _, kind, from, to, text] = fields.as_slice() else {
            bail!("{WRONG}: {line}");
        };
        let position: u64 = position.parse()?;
        ensure!(position == *after + 1, "{WRONG}: {line} comes after position {after}");
        *after = position;
        let is_own = kind != "private" || from == name || to == name;
        ensure!(is_own, "{WRONG}: {name} reads {line}");
        if kind == "hidden" || kind == "private" {
            continue;
        }
        let seen = format!("{kind};{from};{text}");
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.entry(position).or_insert_with(|| seen.clone());
        ensure!(*known == seen, "{WRONG}: {name} reads {line}, others read {known}");
    }
}

/// A line of the file: kind, from, to, sequence, text.
type FileLine = [String; 5];

fn lines_of(volume: &Volume) -> anyhow::Result<Vec<FileLine>> {
    let path = volume.path().join("messages.csv");
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(file);
    let line = |record: Result<csv::StringRecord, csv::Error>| {
        let fields: Vec<String> = record?.iter().skip(1).map(str::to_owned).collect();
        fields.try_into().map_err(|fields| anyhow::anyhow!("not six fields: {fields:?}"))
    };
    reader.records().map(line).collect()
}

/// Compares what was answered with what is stored; names each difference.
fn check_lines(lines: &[FileLine], all: &[(String, Said)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, said) in all {
        count += said.len();
        for (sequence, (position, to, text)) in said {
            let kind = if to.is_empty() { "message" } else { "private" };
            let wanted = [kind, name, to, &sequence.to_string(), text].map(str::to_owned);
            let index = usize::try_from(*position).unwrap_or(0).wrapping_sub(1);
            if lines.get(index) != Some(&wanted) {
                wrong
                    .push(format!("position {position} is not {wanted:?}: {:?}", lines.get(index)));
            }
        }
    }
    let stored = lines.iter().filter(|line| ["message", "private"].contains(&line[0].as_str()));
    let stored = stored.count();
    if stored != count {
        wrong.push(format!("{stored} messages are stored, and {count} were answered"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_line_is_found() {
        let line = |kind: &str, from: &str, sequence: u64| {
            [kind, from, "", &sequence.to_string(), "x"].map(str::to_owned)
        };
        let right = [line("join", "a", 0), line("message", "a", 1), line("message", "a", 2)];
        let said = |position: u64| (position, String::new(), "x".to_owned());
        let all = [("a".to_owned(), Said::from([(1, said(2)), (2, said(3))]))];
        assert_eq!(check_lines(&right, &all), Vec::<String>::new());
        let lost = check_lines(&right[..2], &all);
        assert!(lost.len() == 2 && lost[1].contains("1 messages are stored, and 2"), "{lost:?}");
        let twice = [&right[..], &[line("message", "a", 2)]].concat();
        assert!(check_lines(&twice, &all)[0].contains("3 messages are stored, and 2"));
        let moved = [right[0].clone(), right[2].clone(), right[1].clone()];
        assert_eq!(check_lines(&moved, &all).len(), 2);
    }
}
