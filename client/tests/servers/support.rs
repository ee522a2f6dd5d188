//! A server of one agency that follows a script, on port 0, with its rows in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::bets::Bets;
use client::day;
use client::replay::Work;
use client::session::{Ended, Session};
use client::settings::{self, Config, ServerAddresses};
use indicatif::ProgressBar;
use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal, Request, Response};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a server does instead of what it should, once.
#[derive(Debug, Clone)]
pub enum Misdeed {
    /// Nothing, and nothing more on this connection.
    Hang,
    /// It closes the connection and does nothing.
    Close,
    /// It resets the connection and does nothing.
    Reset,
    /// It does what it should and closes the connection before its answer.
    CloseAfter,
    /// It does what it should and closes the connection behind its answer.
    CloseBehind,
    /// It does nothing and answers this.
    Say(&'static str),
}

/// What all servers of a lottery share.
#[derive(Debug)]
pub struct Volume {
    pub rows: Vec<String>,
    pub state: AgencyState,
    /// Every packet that came in.
    pub packets: Vec<String>,
}

/// Servers on one volume.
#[derive(Debug, Clone)]
pub struct Lottery {
    volume: Arc<Mutex<Volume>>,
    winners: Arc<watch::Sender<Option<&'static str>>>,
}

/// How a server is made.
#[derive(Debug, Clone, Default)]
pub struct Make {
    /// Misdeeds, each at the first packet that starts so.
    pub script: Vec<(&'static str, Misdeed)>,
    /// One packet a connection, and none but the reference system's.
    pub is_old: bool,
    /// Answers go out byte by byte.
    pub in_pieces: bool,
}

struct Server {
    lottery: Lottery,
    make: Mutex<Make>,
}

impl Lottery {
    pub fn new() -> Self {
        let (rows, packets) = (Vec::new(), Vec::new());
        let volume = Volume { rows, state: AgencyState::Open, packets };
        let (winners, _) = watch::channel(None);
        Self { volume: Arc::new(Mutex::new(volume)), winners: Arc::new(winners) }
    }

    /// A lottery whose draw is held as soon as anybody asks.
    pub fn drawn(winners: &'static str) -> Self {
        let lottery = Self::new();
        lottery.draw(winners);
        lottery
    }

    pub fn draw(&self, winners: &'static str) {
        self.winners.send_replace(Some(winners));
    }

    pub fn set(&self, change: impl FnOnce(&mut Volume)) {
        change(&mut self.volume.lock().unwrap());
    }

    pub fn rows(&self) -> Vec<String> {
        self.volume.lock().unwrap().rows.clone()
    }

    pub fn state(&self) -> AgencyState {
        self.volume.lock().unwrap().state
    }

    /// The packets that came in.
    pub fn packets(&self) -> Vec<String> {
        self.volume.lock().unwrap().packets.clone()
    }

    /// The packets that came in, up to their first `:`.
    pub fn packet_types(&self) -> Vec<String> {
        let packets = &self.volume.lock().unwrap().packets;
        packets.iter().map(|packet| packet.split(':').next().unwrap().to_owned()).collect()
    }

    pub fn count(&self, packet_type: &str) -> usize {
        self.packet_types().iter().filter(|name| *name == packet_type).count()
    }

    pub async fn serve(&self, make: Make) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server { lottery: self.clone(), make: Mutex::new(make) });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.connection(stream).await });
            }
        });
        address
    }
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while let Ok(1..) = stream.read_line(&mut line).await {
            let packet = line.trim_end().to_owned();
            line.clear();
            self.lottery.set(|volume| volume.packets.push(packet.clone()));
            let misdeed = self.misdeed(&packet);
            let is_last = self.is_old() || matches!(misdeed, Some(Misdeed::CloseBehind));
            let answer = match misdeed {
                None | Some(Misdeed::CloseBehind) => self.answer(&packet).await,
                Some(Misdeed::Hang) => std::future::pending().await,
                Some(Misdeed::Close) => None,
                Some(Misdeed::Reset) => {
                    SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                    None
                }
                Some(Misdeed::CloseAfter) => {
                    self.answer(&packet).await;
                    None
                }
                Some(Misdeed::Say(text)) => Some(format!("{text}\n").into_bytes()),
            };
            let Some(answer) = answer else { return };
            if self.send(&mut stream, &answer).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn send(&self, stream: &mut BufReader<TcpStream>, answer: &[u8]) -> std::io::Result<()> {
        let piece = if self.make.lock().unwrap().in_pieces { 1 } else { answer.len().max(1) };
        for piece in answer.chunks(piece) {
            stream.write_all(piece).await?;
            stream.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn is_old(&self) -> bool {
        self.make.lock().unwrap().is_old
    }

    fn misdeed(&self, packet: &str) -> Option<Misdeed> {
        let script = &mut self.make.lock().unwrap().script;
        let place = script.iter().position(|(start, _)| packet.starts_with(start))?;
        Some(script.remove(place).1)
    }

    /// The answer, empty where there is none; `None` closes the connection.
    async fn answer(&self, packet: &str) -> Option<Vec<u8>> {
        let request = Request::parse(packet.as_bytes()).expect("clients send packets only");
        let is_old = self.is_old();
        let response = match request {
            Request::StoreBatch { bets, .. } => self.store_batch(bets),
            Request::AgencyClose { rows: None, .. } => {
                self.lottery.set(|volume| volume.state = AgencyState::Closed);
                return Some(Vec::new());
            }
            Request::WinnersRequest { .. } => self.winners().await,
            _ if is_old => return None,
            Request::AgencyStatus { .. } => self.status(),
            Request::StoreRows { first_row, bets, .. } => self.store_rows(first_row, bets),
            Request::AgencyClose { rows: Some(rows), .. } => self.close(rows),
            other => panic!("a server that knows StoreRows was sent {other:?}"),
        };
        let mut line = Vec::new();
        response.write(&mut line);
        Some(line)
    }

    fn store_batch(&self, bets: protocol::WireBets<'_>) -> Response {
        self.lottery.set(|volume| volume.rows.extend(bets.texts().map(str::to_owned)));
        Response::Store { stored: true }
    }

    async fn winners(&self) -> Response {
        let mut winners = self.lottery.winners.subscribe();
        let documents = winners.wait_for(Option::is_some).await.unwrap().unwrap();
        Response::Winners(documents.into())
    }

    fn status(&self) -> Response {
        let volume = self.lottery.volume.lock().unwrap();
        let rows = volume.rows.len() as u64;
        let is_drawn = self.lottery.winners.borrow().is_some();
        let state = match volume.state {
            AgencyState::Closed if is_drawn => AgencyState::Drawn,
            state => state,
        };
        Response::AgencyStatus { rows, digest: digest(&volume.rows), state }
    }

    fn store_rows(&self, first_row: u64, bets: protocol::WireBets<'_>) -> Response {
        let mut volume = self.lottery.volume.lock().unwrap();
        let (stored, first) = (volume.rows.len(), first_row as usize);
        let outcome = if first == stored + 1 {
            volume.rows.extend(bets.texts().map(str::to_owned));
            Outcome::Done
        } else if first > stored {
            Outcome::Refused(Refusal::Gap, String::new())
        } else if first + bets.len() <= stored + 1 {
            Outcome::Done
        } else {
            Outcome::Refused(Refusal::Overlap, String::new())
        };
        let rows = volume.rows.len() as u64;
        Response::StoreRows { outcome, rows, digest: digest(&volume.rows) }
    }

    fn close(&self, rows: u64) -> Response {
        let mut volume = self.lottery.volume.lock().unwrap();
        if rows != volume.rows.len() as u64 {
            let reason = "other rows are stored".to_owned();
            return Response::AgencyClose(Outcome::Refused(Refusal::Short, reason));
        }
        volume.state = AgencyState::Closed;
        Response::AgencyClose(Outcome::Done)
    }
}

fn digest(rows: &[String]) -> Digest {
    rows.iter().fold(Digest::default(), |digest, row| digest.fold(row.as_bytes()))
}

/// Row `k` of every test's file, as it stands on the wire.
pub fn row(k: usize) -> String {
    format!("Ana;Paz;{k};2000-01-01;{}", k % 10)
}

/// The first `count` rows.
pub fn rows(count: usize) -> Vec<String> {
    (1..=count).map(row).collect()
}

/// A file of `count` rows.
pub fn bets(count: usize) -> Bets {
    Bets::read(rows(count).join("\n").replace(';', ",").as_bytes()).unwrap()
}

/// An agency that waits for nothing long, and sends 10 bets a packet.
pub struct Agency {
    pub config: Config,
    pub shutdown: CancellationToken,
}

impl Agency {
    pub fn new(servers: &[SocketAddr]) -> Self {
        let mut config =
            settings::read(None, BTreeMap::new(), |_| None, false).expect("the defaults").config;
        config.servers = ServerAddresses(servers.iter().map(ToString::to_string).collect());
        config.limits.bets = 10;
        config.patience.pause_min = Duration::from_millis(1);
        config.patience.pause_max = Duration::from_millis(10);
        // As soon as there are enough of them.
        config.patience.old = Duration::ZERO;
        Self { config, shutdown: CancellationToken::new() }
    }

    fn session(&self) -> Session {
        let agency = AgencyId::new(1).unwrap();
        Session::new(&self.config, agency, self.shutdown.clone(), ProgressBar::hidden())
    }

    /// All of an agency's day; gives its winners.
    pub async fn run(&self, bets: &Bets) -> Result<String, Ended> {
        let limits = self.config.limits;
        let work = Work { bets, source: "agency-1.csv", is_single: false, limits };
        let mut session = self.session();
        let winners = day::run(&mut session, work).await?;
        Ok(winners.to_string())
    }
}
