//! A bare server: only what every server has to do, and nothing that makes it one for bets.
//!
//! One thread reads what has come from all agencies, appends it as it came, with one write, syncs,
//! and answers each. It reads no bet, checks no place, takes no lock and mends nothing. What it
//! reaches of the limit is what sockets, and a load on the same processors, leave to whoever
//! answers each packet: the limit of servers. As ours does, it waits half a sync for the agencies
//! that it has not heard of.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Packets};
use super::load::{Speaker, Talk};
use super::measures::sample;
use super::served::Agencies;
use crate::bench::outcome::{Role, Sample};
use crate::bench::processes::Thread;
use crate::bench::stage::Stage;
use crate::bench::turns::{Contestant, Pending};

/// The one answer.
const STORED: &[u8] = b"0\n";

/// How much is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;

/// An agency that sends the same packets as to ours.
struct Lines {
    packets: Packets,
    size: u64,
}

impl Talk for Lines {
    fn next(&mut self, packet: &mut Vec<u8>) {
        self.packets.next(packet);
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        ensure!(answer == STORED, "answered {}", String::from_utf8_lossy(answer));
        Ok(self.size)
    }
}

/// The bare server and its agencies.
pub struct Bare {
    agencies: Agencies<Lines>,
    thread: Thread,
    serving: JoinHandle<anyhow::Result<u64>>,
    place: TempDir,
}

impl Bare {
    /// Starts it on an empty file.
    ///
    /// # Errors
    /// The system refused a file, a socket or a thread.
    pub fn start(setting: Setting, bets: &Bets, stage: &Stage) -> anyhow::Result<Self> {
        let place = stage.place("bare")?;
        let path = place.path().join("packets");
        let file =
            OpenOptions::new().create(true).append(true).open(path).context("make a file")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let address = listener.local_addr().context("listen")?;
        let mut callers = Vec::new();
        let agencies = (1..=setting.agencies).map(|agency| {
            let batches = bets.batches(setting.batch, agency);
            let packet =
                |batch| format!("StoreRows:{agency};1:{}\n", bets::wire(batch)).into_bytes();
            let talk =
                Lines { packets: Packets::new(batches.map(packet)), size: setting.batch.into() };
            let speaker = Speaker::connect(address, talk)?;
            callers.push(Caller::new(listener.accept().context("accept an agency")?.0)?);
            Ok(speaker)
        });
        let agencies = Agencies::new(agencies.collect::<anyhow::Result<_>>()?);
        let server = Server { file, callers, bytes: 0, sync_took: Duration::ZERO };
        let (tell, told) = mpsc::channel();
        let serving = std::thread::Builder::new().name("bare".to_owned()).spawn(move || {
            let _ = tell.send(Thread::this());
            server.serve()
        });
        let serving = serving.context("start a thread")?;
        let thread = told.recv().context("hear of a thread")??;
        Ok(Self { agencies, thread, serving, place })
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let (spoken, processor) = self.agencies.round(time, || self.thread.time()).await?;
        Ok(sample(spoken, Some(processor), None))
    }

    /// What it stored is what it was sent, to the byte.
    fn check(self) -> anyhow::Result<()> {
        drop(self.agencies);
        let ended = self.serving.join().map_err(|_| anyhow!("the bare server panicked"))?;
        let bytes = ended.context("serve")?;
        let stored = self.place.path().join("packets").metadata().context("look at it")?.len();
        ensure!(stored == bytes, "{stored} bytes are stored, {bytes} were sent");
        self.place.close().context("remove what was stored")
    }
}

impl Contestant for Bare {
    fn name(&self) -> String {
        "bare server".to_owned()
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.measure(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async { self.check() })
    }
}

/// An agency as the server sees it.
struct Caller {
    stream: TcpStream,
    /// What was read and not stored yet.
    packet: Vec<u8>,
    has_ended: bool,
}

impl Caller {
    fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true).context("send at once")?;
        stream.set_nonblocking(true).context("read without waiting")?;
        Ok(Self { stream, packet: Vec::with_capacity(READ_BYTES), has_ended: false })
    }

    /// Whether its packet is there as a whole: it sends no more before the answer.
    fn is_whole(&self) -> bool {
        self.packet.last() == Some(&b'\n')
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let before = self.packet.len();
        self.packet.resize(before + READ_BYTES, 0);
        let room = self.packet.get_mut(before..).unwrap_or_default();
        let read = self.stream.read(room);
        let bytes = read.as_ref().copied().unwrap_or_default();
        self.packet.truncate(before + bytes);
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("read a packet"),
            Ok(bytes) => {
                self.has_ended = bytes == 0;
                Ok(())
            }
        }
    }
}

struct Server {
    file: File,
    callers: Vec<Caller>,
    bytes: u64,
    /// How long the last sync took.
    sync_took: Duration,
}

impl Server {
    /// Serves until all agencies have gone; gives how many bytes it has stored.
    fn serve(mut self) -> anyhow::Result<u64> {
        let mut group = Vec::new();
        while self.gather()? {
            group.clear();
            for caller in self.callers.iter().filter(|caller| caller.is_whole()) {
                group.extend_from_slice(&caller.packet);
            }
            self.file.write_all(&group).context("append")?;
            let since = Instant::now();
            self.file.sync_data().context("sync")?;
            self.sync_took = since.elapsed();
            self.bytes += group.len() as u64;
            for caller in self.callers.iter_mut().filter(|caller| caller.is_whole()) {
                caller.stream.write_all(STORED).context("answer")?;
                caller.packet.clear();
            }
        }
        Ok(self.bytes)
    }

    /// Waits for a packet, and a moment for those of all others; says whether there is any.
    fn gather(&mut self) -> anyhow::Result<bool> {
        let mut until = None;
        loop {
            let now = Instant::now();
            let has_one = self.callers.iter().any(Caller::is_whole);
            let until = has_one.then(|| *until.get_or_insert(now + self.sync_took / 2));
            let left = until.map(|until| until.saturating_duration_since(now));
            let is_late = left.is_some_and(|left| left.is_zero());
            if is_late || self.callers.iter().all(Caller::is_whole) {
                return Ok(!self.callers.is_empty());
            }
            self.read_for(left)?;
        }
    }

    /// Reads from those that have no packet here yet, as soon as one of them can be read.
    fn read_for(&mut self, left: Option<Duration>) -> anyhow::Result<()> {
        let left = left.map(Timespec::try_from).transpose().context("count the time")?;
        let missing = self.callers.iter().filter(|caller| !caller.is_whole());
        let mut polled: Vec<_> =
            missing.map(|caller| PollFd::new(&caller.stream, PollFlags::IN)).collect();
        retry_on_intr(|| poll(&mut polled, left.as_ref())).context("wait for a packet")?;
        let readable: Vec<bool> = polled.iter().map(|it| !it.revents().is_empty()).collect();
        let missing = self.callers.iter_mut().filter(|caller| !caller.is_whole());
        for (caller, _) in missing.zip(readable).filter(|(_, is_readable)| *is_readable) {
            caller.read()?;
        }
        self.callers.retain(|caller| !caller.has_ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_packets_are_stored_and_answered_and_parts_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packets");
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, Caller::new(listener.accept().unwrap().0).unwrap())
        };
        let ((mut one, first), (mut other, second)) = (connect(), connect());
        let server =
            Server { file, callers: vec![first, second], bytes: 0, sync_took: Duration::ZERO };
        let serving = std::thread::spawn(|| server.serve());
        let is_answered = |mut client: &TcpStream| {
            let mut answer = [0; STORED.len()];
            client.read_exact(&mut answer).unwrap();
            answer == STORED
        };
        other.write_all(b"b").unwrap();
        one.write_all(b"a\n").unwrap();
        assert!(is_answered(&one));
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
        other.write_all(b"c\n").unwrap();
        assert!(is_answered(&other));
        drop((one, other));
        assert_eq!(serving.join().unwrap().unwrap(), 5);
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nbc\n");
    }
}
