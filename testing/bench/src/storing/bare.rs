//! Bare servers: only what every server has to do, and nothing that makes it one for bets.
//!
//! One thread reads what has come from all its agencies, has it stored, and answers each. As ours
//! does, it waits half a sync for the agencies that it has not heard of; unlike ours it reads
//! nothing while it syncs. How it stores is said by [`Storing`]: as *bare server* it appends
//! packets and syncs (`appending.rs`), what is left to a server by sockets, and by a load on the
//! same processors; as *bare instances* it does what a volume asks of its instances
//! (`keeping.rs`).

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
use crate::outcome::{Role, Sample};
use crate::turns::{Contestant, Pending};
use harness::processes::Thread;

/// The one answer.
const STORED: &[u8] = b"0\n";

/// How much is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;

/// An agency that sends the same packets as to ours.
struct Lines {
    packets: Packets,
    size: u64,
}

impl Lines {
    fn new(agency: u32, setting: Setting, bets: &Bets) -> Self {
        let batches = bets.batches(setting.batch, agency);
        let packet = |batch| format!("StoreRows:{agency};1:{}\n", bets::wire(batch)).into_bytes();
        Self { packets: Packets::new(batches.map(packet)), size: setting.batch.into() }
    }
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

/// How packets are stored.
pub trait Storing: Send + 'static {
    /// Stores all of them, durably; gives how long the sync took.
    ///
    /// # Errors
    /// Any: then it is not known what is stored.
    fn store(&mut self, packets: &[&[u8]]) -> anyhow::Result<Duration>;

    /// Looks in the end, when nobody stores any more, at what is stored: how many bets by all.
    ///
    /// # Errors
    /// It cannot be read, or is not what was stored.
    fn count(&mut self) -> anyhow::Result<u64>;
}

/// Bare servers and their agencies.
pub struct Bare<S> {
    name: String,
    agencies: Agencies<Lines>,
    servers: Vec<Running<S>>,
    /// Where they store.
    place: TempDir,
}

impl<S: Storing> Bare<S> {
    /// Starts a server for each of `storing`, all in `place`, and the agencies, which they share.
    ///
    /// # Errors
    /// The system refused a socket or a thread.
    pub fn start(
        name: String,
        storing: Vec<S>,
        place: TempDir,
        setting: Setting,
        bets: &Bets,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let address = listener.local_addr().context("listen")?;
        let mut servers: Vec<_> = storing.into_iter().map(Server::new).collect();
        let mut speakers = Vec::new();
        for (agency, number) in (1..=setting.agencies).zip((0..servers.len()).cycle()) {
            speakers.push(Speaker::connect(address, Lines::new(agency, setting, bets))?);
            let caller = Caller::new(listener.accept().context("accept an agency")?.0)?;
            if let Some(server) = servers.get_mut(number) {
                server.callers.push(caller);
            }
        }
        // One without agencies has nothing to do, and would end at once.
        servers.retain(|server| !server.callers.is_empty());
        let servers = servers.into_iter().map(Running::start).collect::<anyhow::Result<_>>()?;
        Ok(Self { name, agencies: Agencies::new(speakers), servers, place })
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let servers = &self.servers;
        let processor_time = || servers.iter().map(|server| server.thread.time()).sum();
        match self.agencies.round(time, processor_time).await {
            Ok((spoken, processor)) => Ok(sample(spoken, Some(processor), None)),
            // An agency only sees that its connection ends: its server knows why.
            Err(error) => Err(self.end().err().unwrap_or(error)),
        }
    }

    /// Ends agencies and servers; gives these as they are then.
    fn end(&mut self) -> anyhow::Result<Vec<S>> {
        self.agencies = Agencies::new(Vec::new());
        let servers = self.servers.drain(..);
        let ended = servers.map(|Running { serving, .. }| {
            serving.join().map_err(|_| anyhow!("a bare server panicked"))?.context("serve")
        });
        ended.collect()
    }

    /// What is stored, as each of them sees it, is what was acknowledged.
    fn check(mut self) -> anyhow::Result<()> {
        let acknowledged = self.agencies.acknowledged();
        for mut storing in self.end()? {
            let stored = storing.count().context("count what is stored")?;
            ensure!(
                stored == acknowledged,
                "{stored} bets are stored, {acknowledged} acknowledged"
            );
        }
        self.place.close().context("remove what was stored")
    }
}

impl<S: Storing> Contestant for Bare<S> {
    fn name(&self) -> String {
        self.name.clone()
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

/// A server's thread.
struct Running<S> {
    thread: Thread,
    serving: JoinHandle<anyhow::Result<S>>,
}

impl<S: Storing> Running<S> {
    fn start(server: Server<S>) -> anyhow::Result<Self> {
        let (tell, told) = mpsc::channel();
        let serving = std::thread::Builder::new().name("bare".to_owned()).spawn(move || {
            let _ = tell.send(Thread::this());
            server.serve()
        });
        let serving = serving.context("start a thread")?;
        Ok(Self { thread: told.recv().context("hear of a thread")??, serving })
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

struct Server<S> {
    storing: S,
    callers: Vec<Caller>,
    /// How long the last sync took.
    sync_took: Duration,
}

impl<S: Storing> Server<S> {
    fn new(storing: S) -> Self {
        Self { storing, callers: Vec::new(), sync_took: Duration::ZERO }
    }

    /// Serves until all agencies have gone.
    fn serve(mut self) -> anyhow::Result<S> {
        while self.gather()? {
            let whole = self.callers.iter().filter(|caller| caller.is_whole());
            let packets: Vec<&[u8]> = whole.map(|caller| caller.packet.as_slice()).collect();
            self.sync_took = self.storing.store(&packets)?;
            for caller in self.callers.iter_mut().filter(|caller| caller.is_whole()) {
                caller.stream.write_all(STORED).context("answer")?;
                caller.packet.clear();
            }
        }
        Ok(self.storing)
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
    use super::super::appending::Appending;
    use super::*;
    use harness::volume::Volume;

    #[test]
    fn whole_packets_are_stored_and_answered_and_parts_wait() {
        let directory = tempfile::tempdir().unwrap();
        let storing = Appending::open(directory.path(), 1).unwrap();
        let path = Volume::new(directory.path()).bets();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, Caller::new(listener.accept().unwrap().0).unwrap())
        };
        let ((mut one, first), (mut other, second)) = (connect(), connect());
        let server = Server { storing, callers: vec![first, second], sync_took: Duration::ZERO };
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
        assert_eq!(serving.join().unwrap().unwrap().count().unwrap(), 2);
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nbc\n");
    }
}
