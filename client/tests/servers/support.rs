//! A lottery of one agency, whose servers are in this process and keep its rows in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::reference::{self, Fields, ReferenceStore};
use crate::scripted::{self, Answerer, Failure};

use client::agency_run;
use client::bets::Bets;
use client::input::Input;
use client::session::Session;
use client::settings::{self, Config};
use protocol::{AgencyId, AgencyState, Digest, Outcome, Refusal, Request, Response, WireBets};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What all servers of a lottery share.
#[derive(Debug)]
pub struct Volume {
    pub rows: Vec<String>,
    pub state: AgencyState,
    /// Every packet that was received.
    packets: Vec<String>,
    winners: Option<&'static str>,
}

impl Volume {
    fn count(&self, packet_type: &str) -> usize {
        self.packets.iter().filter(|packet| packet.split(':').next() == Some(packet_type)).count()
    }

    fn store(&mut self, bets: WireBets<'_>) {
        self.rows.extend(bets.texts().map(str::to_owned));
    }

    fn digest(&self) -> Digest {
        self.rows.iter().fold(Digest::default(), |digest, row| digest.fold(row.as_bytes()))
    }

    /// What a current server does with a request, except `WinnersRequest`.
    fn execute(&mut self, request: Request<'_>) -> Option<Response> {
        let stored = self.rows.len() as u64;
        Some(match request {
            Request::StoreBatch { bets, .. } => {
                self.store(bets);
                Response::Store { stored: true }
            }
            Request::AgencyClose { rows, .. } if rows.is_none_or(|rows| rows == stored) => {
                self.state = AgencyState::Closed;
                rows?;
                Response::AgencyClose(Outcome::Done)
            }
            Request::AgencyClose { .. } => {
                Response::AgencyClose(Outcome::Refused(Refusal::Short, String::new()))
            }
            Request::AgencyStatus { .. } => {
                let is_drawn = self.state == AgencyState::Closed && self.winners.is_some();
                let state = if is_drawn { AgencyState::Drawn } else { self.state };
                Response::AgencyStatus { rows: stored, digest: self.digest(), state }
            }
            Request::StoreRows { first_row, bets, .. } => {
                let last_row = first_row + bets.len() as u64 - 1;
                let outcome = match first_row {
                    first if first == stored + 1 => {
                        self.store(bets);
                        Outcome::Done
                    }
                    first if first > stored => Outcome::Refused(Refusal::Gap, String::new()),
                    _ if last_row <= stored => Outcome::Done,
                    _ => Outcome::Refused(Refusal::Overlap, String::new()),
                };
                let rows = self.rows.len() as u64;
                Response::StoreRows { outcome, rows, digest: self.digest() }
            }
            other => panic!("a server that knows StoreRows was sent {other:?}"),
        })
    }
}

/// Servers on one volume.
#[derive(Debug, Clone)]
pub struct Lottery(Arc<watch::Sender<Volume>>);

impl Default for Lottery {
    fn default() -> Self {
        let (rows, packets, winners) = (Vec::new(), Vec::new(), None);
        let volume = Volume { rows, state: AgencyState::Open, packets, winners };
        Self(Arc::new(watch::channel(volume).0))
    }
}

impl Lottery {
    /// A lottery whose draw is held already.
    pub fn drawn(winners: &'static str) -> Self {
        let lottery = Self::default();
        lottery.draw(winners);
        lottery
    }

    pub fn draw(&self, winners: &'static str) {
        self.set(|volume| volume.winners = Some(winners));
    }

    pub fn set(&self, change: impl FnOnce(&mut Volume)) {
        self.0.send_modify(change);
    }

    pub fn rows(&self) -> Vec<String> {
        self.0.borrow().rows.clone()
    }

    pub fn state(&self) -> AgencyState {
        self.0.borrow().state
    }

    /// The packets that were received.
    pub fn packets(&self) -> Vec<String> {
        self.0.borrow().packets.clone()
    }

    pub fn count(&self, packet_type: &str) -> usize {
        self.0.borrow().count(packet_type)
    }

    /// Waits until `count` packets of this type were received.
    pub async fn wait_for(&self, count: usize, packet_type: &str) {
        let is_enough = |volume: &Volume| volume.count(packet_type) >= count;
        self.0.subscribe().wait_for(is_enough).await.unwrap();
    }

    /// Starts a current server.
    pub async fn serve(&self, script: &[(&'static str, Failure)]) -> SocketAddr {
        scripted::serve(LOCALHOST, self.clone(), script.to_vec(), false).await
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
        let mut volume = self.0.subscribe();
        let drawn = volume.wait_for(|volume| volume.winners.is_some()).await.unwrap();
        drawn.winners.unwrap().to_owned()
    }
}

/// A current server, which knows every packet.
impl Answerer for Lottery {
    fn received(&self, packet: &str) {
        ReferenceStore::received(self, packet);
    }

    async fn answer(&self, packet: &str) -> Option<String> {
        let mut answer = None;
        match Request::parse(packet.as_bytes()).expect("clients send packets only") {
            Request::WinnersRequest { agency } => {
                answer = Some(Response::Winners(self.winners(agency.get()).await.into()));
            }
            request => self.set(|volume| answer = volume.execute(request)),
        }
        let mut line = Vec::new();
        answer.inspect(|answer| answer.write(&mut line));
        Some(String::from_utf8(line).unwrap())
    }
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
        Self { config }
    }

    /// An agency run; returns the winners, or why it ended without them.
    pub async fn run(&self, bets: &Bets) -> Result<String, String> {
        let source = "agency-1.csv".to_owned();
        let input = Input { bets: bets.clone(), source, is_single: false };
        let agency = AgencyId::new(1).unwrap();
        let mut session = Session::new(&self.config, agency, CancellationToken::new());
        let winners = agency_run::run(&mut session, &input).await;
        winners.map(|winners| winners.to_string()).map_err(|error| error.to_string())
    }
}
