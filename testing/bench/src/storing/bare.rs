//! The bare server: only what every server has to do.
//!
//! One thread reads what has come from all agencies, appends the packets as they came, syncs, and
//! answers each. No bet is read, no place checked, no lock taken, and nothing could be recovered. As
//! ours does, it waits half a sync for the agencies that have not sent; unlike ours it reads nothing
//! while it syncs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use harness::processes::Thread;
use harness::raw_connection::RawConnection;
use harness::volume::{LineCounter, Volume};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tempfile::TempDir;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load, Loaded, Store, Usage};
use crate::place::Place;

/// The one answer.
const STORED: &[u8] = b"0\n";

/// How much is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;

/// An agency that sends the same packets as to ours.
pub struct Packets {
    connection: RawConnection,
    packets: Cycle<String>,
    size: u64,
}

impl Agency for Packets {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let answer = self.connection.ask(self.packets.next()?).await?;
        ensure!(answer == "0", "answered {answer}");
        Ok(self.size)
    }
}

/// A running bare server.
pub struct Bare {
    thread: Thread,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
    batch: u64,
    place: TempDir,
}

/// Starts the server and connects the agencies.
///
/// # Errors
/// The system refused a socket or a thread.
pub async fn start(
    setting: Setting,
    bets: &Bets,
    place: &Place,
) -> anyhow::Result<Loaded<Bare, Packets>> {
    let directory = place.directory("bare")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let address = listener.local_addr().context("listen")?;
    let batch = setting.batch.into();
    let mut server = Server::open(directory.path())?;
    let mut agencies = Vec::new();
    for agency in 1..=setting.agencies {
        let packet = |batch| format!("StoreRows:{agency};1:{}", bets::wire(batch));
        let packets = Cycle::new(bets.batches(setting.batch, agency).map(packet));
        let connection = RawConnection::open(address).await?;
        agencies.push(Packets { connection, packets, size: batch });
        let (stream, _) = listener.accept().context("accept an agency")?;
        server.callers.push(Caller::new(stream)?);
    }
    let (sender, receiver) = mpsc::channel();
    let serving = std::thread::Builder::new().name("bare".to_owned()).spawn(move || {
        let _ = sender.send(Thread::this());
        server.serve()
    });
    let serving = Some(serving.context("start a thread")?);
    let thread = receiver.recv().context("find a thread")??;
    let store = Bare { thread, serving, batch, place: directory };
    Ok(Loaded { store, load: Load::new(agencies) })
}

impl Bare {
    /// Waits for the server's end, which comes when all agencies have gone.
    fn end(&mut self) -> anyhow::Result<()> {
        let ended = self.serving.take().context("the bare server has ended")?.join();
        ended.map_err(|_| anyhow!("the bare server panicked"))?.context("serve")
    }
}

impl Store for Bare {
    fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage { processor: Some(self.thread.time()?), memory: None })
    }

    fn reason(&mut self, error: anyhow::Error) -> anyhow::Error {
        let has_ended = self.serving.as_ref().is_some_and(JoinHandle::is_finished);
        if has_ended { self.end().err().unwrap_or(error) } else { error }
    }

    async fn finish(mut self) -> anyhow::Result<Option<u64>> {
        self.end()?;
        let packets = LineCounter::new(Volume::new(self.place.path()).bets()).count();
        Ok(Some(packets.context("count what is stored")? * self.batch))
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
        let mut block = [0; READ_BYTES];
        match self.stream.read(&mut block) {
            Ok(0) => self.has_ended = true,
            Ok(count) => self.packet.extend_from_slice(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("read a packet"),
        }
        Ok(())
    }
}

struct Server {
    file: File,
    callers: Vec<Caller>,
    /// How long the last sync took.
    sync_took: Duration,
}

impl Server {
    /// A server of an empty file in the directory `place`.
    fn open(place: &Path) -> anyhow::Result<Self> {
        let path = Volume::new(place).bets();
        let file =
            OpenOptions::new().create(true).append(true).open(path).context("make a file")?;
        Ok(Self { file, callers: Vec::new(), sync_took: Duration::ZERO })
    }

    /// Serves until all agencies have gone.
    fn serve(mut self) -> anyhow::Result<()> {
        while self.gather()? {
            let whole = self.callers.iter().filter(|caller| caller.is_whole());
            let group: Vec<&[u8]> = whole.map(|caller| caller.packet.as_slice()).collect();
            self.file.write_all(&group.concat()).context("append")?;
            let since = Instant::now();
            self.file.sync_data().context("sync")?;
            self.sync_took = since.elapsed();
            for caller in self.callers.iter_mut().filter(|caller| caller.is_whole()) {
                caller.stream.write_all(STORED).context("answer")?;
                caller.packet.clear();
            }
        }
        Ok(())
    }

    /// Waits for a packet, and a moment for those of all others; says whether there is any.
    fn gather(&mut self) -> anyhow::Result<bool> {
        let mut until = None;
        while !self.callers.iter().all(Caller::is_whole) {
            let has_one = self.callers.iter().any(Caller::is_whole);
            let until = has_one.then(|| *until.get_or_insert(Instant::now() + self.sync_took / 2));
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            self.read_for(left)?;
        }
        Ok(!self.callers.is_empty())
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
