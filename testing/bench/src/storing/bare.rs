//! The bare server: only what every server has to do.
//!
//! One thread reads what has come from all agencies, appends the packets as they came, syncs, and
//! answers each. No bet is read, no place checked, no lock taken, and nothing could be recovered. As
//! ours does, it waits half a sync for the agencies that have not sent; unlike ours it reads nothing
//! while it syncs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use harness::processes::Thread;
use harness::raw_connection::RawConnection;
use harness::volume::Volume;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load};
use crate::outcome::{Role, Sample};
use crate::place::Place;
use crate::turns::{Contestant, Pending};

/// The one answer.
const STORED: &[u8] = b"0\n";

/// How much is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;

/// An agency that sends the same packets as to ours.
struct Packets {
    connection: RawConnection,
    packets: Cycle<String>,
    size: u64,
}

impl Packets {
    async fn connect(
        address: SocketAddr,
        agency: u32,
        setting: Setting,
        bets: &Bets,
    ) -> anyhow::Result<Self> {
        let batches = bets.batches(setting.batch, agency);
        let packet = |batch| format!("StoreRows:{agency};1:{}", bets::wire(batch));
        let packets = Cycle::new(batches.map(packet));
        let connection = RawConnection::open(address).await?;
        Ok(Self { connection, packets, size: setting.batch.into() })
    }
}

impl Agency for Packets {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let answer = self.connection.ask(self.packets.next()?).await?;
        ensure!(answer == "0", "answered {answer}");
        Ok(self.size)
    }
}

/// The bare server and its agencies.
pub struct Bare {
    load: Load<Packets>,
    thread: Thread,
    serving: Option<JoinHandle<anyhow::Result<Server>>>,
    batch: u64,
    place: TempDir,
}

impl Bare {
    /// Starts the server and connects the agencies.
    ///
    /// # Errors
    /// The system refused a socket or a thread.
    pub async fn start(setting: Setting, bets: &Bets, place: &Place) -> anyhow::Result<Self> {
        let directory = place.directory("bare")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let address = listener.local_addr().context("listen")?;
        let bets = bets.clone();
        let load = Load::connect(setting.agencies, move |agency| {
            let bets = bets.clone();
            async move { Packets::connect(address, agency, setting, &bets).await }
        });
        let load = load.await?;
        let mut server = Server::open(directory.path())?;
        for _ in 0..setting.agencies {
            let (stream, _) = listener.accept().context("accept an agency")?;
            server.callers.push(Caller::new(stream)?);
        }
        let (tell, told) = mpsc::channel();
        let serving = std::thread::Builder::new().name("bare".to_owned()).spawn(move || {
            let _ = tell.send(Thread::this());
            server.serve()
        });
        let serving = Some(serving.context("start a thread")?);
        let thread = told.recv().context("hear of a thread")??;
        Ok(Self { load, thread, serving, batch: setting.batch.into(), place: directory })
    }

    async fn measure(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let thread = &self.thread;
        match self.load.round(time, || thread.time()).await {
            Ok((round, processor)) => Ok(round.sample(Some(processor), None)),
            // An agency only sees that its connection ends: its server knows why.
            Err(error) => Err(end(self.serving.take()).err().unwrap_or(error)),
        }
    }

    /// What is stored is what was acknowledged.
    fn check(self) -> anyhow::Result<()> {
        let acknowledged = self.load.acknowledged();
        drop(self.load);
        let server = end(self.serving)?;
        let (stored, bytes) = (server.file.metadata()?.len(), server.bytes);
        ensure!(stored == bytes, "{stored} bytes are stored, {bytes} were appended");
        let stored = server.packets * self.batch;
        ensure!(stored == acknowledged, "{stored} bets are stored, {acknowledged} acknowledged");
        self.place.close().context("remove what was stored")
    }
}

/// Waits for the server's end, which comes when all agencies have gone.
fn end(serving: Option<JoinHandle<anyhow::Result<Server>>>) -> anyhow::Result<Server> {
    let ended = serving.context("the bare server has ended")?.join();
    ended.map_err(|_| anyhow!("the bare server panicked"))?.context("serve")
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
    /// How long the last sync took.
    sync_took: Duration,
    packets: u64,
    bytes: u64,
}

impl Server {
    /// A server of an empty file in the directory `place`.
    fn open(place: &Path) -> anyhow::Result<Self> {
        let path = Volume::new(place).bets();
        let file =
            OpenOptions::new().create(true).append(true).open(path).context("make a file")?;
        Ok(Self { file, callers: Vec::new(), sync_took: Duration::ZERO, packets: 0, bytes: 0 })
    }

    /// Serves until all agencies have gone.
    fn serve(mut self) -> anyhow::Result<Self> {
        while self.gather()? {
            let whole = self.callers.iter().filter(|caller| caller.is_whole());
            let group: Vec<&[u8]> = whole.map(|caller| caller.packet.as_slice()).collect();
            self.packets += group.len() as u64;
            let group = group.concat();
            self.bytes += group.len() as u64;
            self.file.write_all(&group).context("append")?;
            let since = Instant::now();
            self.file.sync_data().context("sync")?;
            self.sync_took = since.elapsed();
            for caller in self.callers.iter_mut().filter(|caller| caller.is_whole()) {
                caller.stream.write_all(STORED).context("answer")?;
                caller.packet.clear();
            }
        }
        Ok(self)
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
        let mut server = Server::open(directory.path()).unwrap();
        let path = Volume::new(directory.path()).bets();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            server.callers.push(Caller::new(listener.accept().unwrap().0).unwrap());
            client
        };
        let (mut one, mut other) = (connect(), connect());
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
        let server = serving.join().unwrap().unwrap();
        assert_eq!((server.packets, server.bytes), (2, 5));
        assert_eq!(std::fs::read(&path).unwrap(), b"a\nbc\n");
    }
}
