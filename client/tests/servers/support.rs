//! A lottery of one agency, whose servers are in this process and keep its rows in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::reference::{self, Fields, ReferenceStore};
use crate::scripted::{self, Answerer, Behaviour, Failure};

use client::agency_run;
use client::bets::Bets;
use client::input::Input;
use client::session::{Session, SessionError};
use client::settings::{self, Config};
use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal, Request, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What all servers of a lottery share.
#[derive(Debug)]
pub struct Volume {
    pub rows: Vec<String>,
    pub state: AgencyState,
    /// Every packet that was received.
    pub packets: Vec<String>,
}

/// Servers on one volume.
#[derive(Debug, Clone)]
pub struct Lottery {
    volume: Arc<Mutex<Volume>>,
    winners: Arc<watch::Sender<Option<&'static str>>>,
}

impl Lottery {
    pub fn new() -> Self {
        let (rows, packets) = (Vec::new(), Vec::new());
        let volume = Volume { rows, state: AgencyState::Open, packets };
        let (winners, _) = watch::channel(None);
        Self { volume: Arc::new(Mutex::new(volume)), winners: Arc::new(winners) }
    }

    /// A lottery whose draw is held already.
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

    /// The packets that were received.
    pub fn packets(&self) -> Vec<String> {
        self.volume.lock().unwrap().packets.clone()
    }

    /// The types of the packets that were received.
    pub fn packet_types(&self) -> Vec<String> {
        let packets = &self.volume.lock().unwrap().packets;
        packets.iter().map(|packet| packet.split(':').next().unwrap().to_owned()).collect()
    }

    pub fn count(&self, packet_type: &str) -> usize {
        self.packet_types().iter().filter(|name| *name == packet_type).count()
    }

    /// Starts a current server.
    pub async fn serve(&self, behaviour: Behaviour) -> SocketAddr {
        scripted::serve(LOCALHOST, self.clone(), behaviour).await
    }

    /// Starts a legacy server on the same volume.
    pub async fn serve_reference(&self, script: &[(&'static str, Failure)]) -> SocketAddr {
        reference::serve(LOCALHOST, self.clone(), script.to_vec()).await
    }
}

impl ReferenceStore for Lottery {
    fn received(&self, packet: &str) {
        self.set(|volume| volume.packets.push(packet.to_owned()));
    }

    async fn store(&self, _agency: u32, bets: &[Fields<'_>]) {
        self.set(|volume| volume.rows.extend(bets.iter().map(|bet| bet.join(";"))));
    }

    fn close(&self, _agency: u32) {
        self.set(|volume| volume.state = AgencyState::Closed);
    }

    async fn winners(&self, _agency: u32) -> String {
        let mut winners = self.winners.subscribe();
        winners.wait_for(Option::is_some).await.unwrap().unwrap().to_owned()
    }
}

/// A current server, which knows every packet.
impl Answerer for Lottery {
    fn received(&self, packet: &str) {
        ReferenceStore::received(self, packet);
    }

    async fn answer(&self, packet: &str) -> Option<String> {
        let request = Request::parse(packet.as_bytes()).expect("clients send packets only");
        let response = match request {
            Request::StoreBatch { bets, .. } => self.store_batch(bets),
            Request::AgencyClose { agency, rows: None } => {
                ReferenceStore::close(self, agency.get());
                return Some(String::new());
            }
            Request::WinnersRequest { agency } => {
                Response::Winners(ReferenceStore::winners(self, agency.get()).await.into())
            }
            Request::AgencyStatus { .. } => self.status(),
            Request::StoreRows { first_row, bets, .. } => self.store_rows(first_row, bets),
            Request::AgencyClose { rows: Some(rows), .. } => self.close_with(rows),
            other => panic!("a server that knows StoreRows was sent {other:?}"),
        };
        let mut line = Vec::new();
        response.write(&mut line);
        Some(String::from_utf8(line).unwrap())
    }
}

impl Lottery {
    fn store_batch(&self, bets: protocol::WireBets<'_>) -> Response {
        self.set(|volume| volume.rows.extend(bets.texts().map(str::to_owned)));
        Response::Store { stored: true }
    }

    fn status(&self) -> Response {
        let volume = self.volume.lock().unwrap();
        let rows = volume.rows.len() as u64;
        let is_drawn = self.winners.borrow().is_some();
        let state = match volume.state {
            AgencyState::Closed if is_drawn => AgencyState::Drawn,
            state => state,
        };
        Response::AgencyStatus { rows, digest: digest(&volume.rows), state }
    }

    fn store_rows(&self, first_row: u64, bets: protocol::WireBets<'_>) -> Response {
        let mut volume = self.volume.lock().unwrap();
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

    fn close_with(&self, rows: u64) -> Response {
        let mut volume = self.volume.lock().unwrap();
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

/// An agency with short timeouts, which sends 10 bets in a packet.
pub struct Agency {
    pub config: Config,
    pub shutdown: CancellationToken,
}

impl Agency {
    pub fn new(servers: &[SocketAddr]) -> Self {
        let mut config =
            settings::read(None, BTreeMap::new(), |_| None, false).expect("the defaults");
        config.servers = servers.iter().map(ToString::to_string).collect();
        config.limits.bets = 10;
        config.timeouts.pause_min = Duration::from_millis(1);
        config.timeouts.pause_max = Duration::from_millis(10);
        // The number of closes is enough, whatever time they take.
        config.timeouts.legacy_detection = Duration::ZERO;
        Self { config, shutdown: CancellationToken::new() }
    }

    fn session(&self) -> Session {
        let agency = AgencyId::new(1).unwrap();
        Session::new(&self.config, agency, self.shutdown.clone())
    }

    /// An agency run; returns the winners.
    pub async fn run(&self, bets: &Bets) -> Result<String, SessionError> {
        let source = "agency-1.csv".to_owned();
        let input = Input { bets: bets.clone(), source, is_single: false };
        let mut session = self.session();
        let winners = agency_run::run(&mut session, &input).await?;
        Ok(winners.to_string())
    }
}
