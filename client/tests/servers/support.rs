//! A lottery of one agency, whose servers are in this process and keep its rows in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::scripted::{self, Failure};

use client::agency_run;
use client::bets::Bets;
use client::input::Input;
use client::session::Session;
use client::settings::{self, Config};
use protocol::{AgencyId, AgencyState, Digest, Outcome, Request, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What all servers of a lottery share.
#[derive(Debug)]
pub struct Volume {
    pub rows: Vec<String>,
    pub state: AgencyState,
    /// Every packet that was received.
    pub packets: Vec<String>,
    pub winners: Option<&'static str>,
}

impl Volume {
    pub fn count(&self, packet_type: &str) -> usize {
        self.packets.iter().filter(|packet| packet.split(':').next() == Some(packet_type)).count()
    }

    /// What a current server does with a request, except `WinnersRequest`. There is one client, which
    /// knows what is stored.
    fn execute(&mut self, request: Request<'_>) -> Option<Response> {
        let stored = self.rows.len() as u64;
        let digest = |rows: &[String]| {
            rows.iter().fold(Digest::default(), |digest, row| digest.fold(row.as_bytes()))
        };
        Some(match request {
            Request::StoreBatch { bets, .. } => {
                self.rows.extend(bets.texts().map(str::to_owned));
                Response::Store { stored: true }
            }
            Request::AgencyClose { rows, .. } => {
                assert!(
                    rows.is_none_or(|rows| rows == stored),
                    "{rows:?} declared, {stored} stored"
                );
                self.state = AgencyState::Closed;
                rows?;
                Response::AgencyClose(Outcome::Done)
            }
            Request::AgencyStatus { .. } => {
                let is_drawn = self.state == AgencyState::Closed && self.winners.is_some();
                let state = if is_drawn { AgencyState::Drawn } else { self.state };
                Response::AgencyStatus { rows: stored, digest: digest(&self.rows), state }
            }
            Request::StoreRows { first_row, bets, .. } => {
                assert_eq!(first_row, stored + 1);
                self.rows.extend(bets.texts().map(str::to_owned));
                let (outcome, rows) = (Outcome::Done, self.rows.len() as u64);
                Response::StoreRows { outcome, rows, digest: digest(&self.rows) }
            }
            other => panic!("a server that knows StoreRows was sent {other:?}"),
        })
    }
}

/// Servers on one volume.
#[derive(Debug, Clone)]
pub struct Lottery(Arc<watch::Sender<Volume>>);

impl Lottery {
    /// A lottery whose draw is held as soon as the agency has closed, if there are winners.
    pub fn new(winners: Option<&'static str>) -> Self {
        let (rows, packets, state) = (Vec::new(), Vec::new(), AgencyState::Open);
        Self(Arc::new(watch::channel(Volume { rows, state, packets, winners }).0))
    }

    pub fn set(&self, change: impl FnOnce(&mut Volume)) {
        self.0.send_modify(change);
    }

    pub fn volume(&self) -> watch::Ref<'_, Volume> {
        self.0.borrow()
    }

    /// Waits until `count` packets of this type were received.
    pub async fn wait_for(&self, count: usize, packet_type: &str) {
        let is_enough = |volume: &Volume| volume.count(packet_type) >= count;
        self.0.subscribe().wait_for(is_enough).await.unwrap();
    }

    /// Waits for the draw.
    pub async fn winners(&self) -> &'static str {
        let mut volume = self.0.subscribe();
        volume.wait_for(|volume| volume.winners.is_some()).await.unwrap().winners.unwrap()
    }

    /// What a current server, which knows every packet, answers, with the `\n`.
    pub async fn answer(&self, packet: &str) -> String {
        let mut answer = None;
        match Request::parse(packet.as_bytes()).expect("clients send packets only") {
            Request::WinnersRequest { .. } => {
                answer = Some(Response::Winners(self.winners().await.into()));
            }
            request => self.set(|volume| answer = volume.execute(request)),
        }
        let mut line = Vec::new();
        answer.inspect(|answer| answer.write(&mut line));
        String::from_utf8(line).unwrap()
    }

    /// Starts a current server.
    pub async fn serve(&self, script: &[(&'static str, Failure)]) -> SocketAddr {
        scripted::serve(self.clone(), false, script.to_vec()).await
    }

    /// Starts a legacy server on the same volume.
    pub async fn serve_reference(&self, script: &[(&'static str, Failure)]) -> SocketAddr {
        scripted::serve(self.clone(), true, script.to_vec()).await
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

/// The settings of an agency with short timeouts, which sends 10 bets in a packet.
pub fn config(servers: &[SocketAddr]) -> Config {
    let mut config = settings::read(None, BTreeMap::new(), |_| None, false).expect("the defaults");
    config.servers = servers.iter().map(ToString::to_string).collect();
    config.limits.bets = 10;
    config.timeouts.pause_min = Duration::from_millis(1);
    config.timeouts.pause_max = Duration::from_millis(10);
    // The number of closes is enough, whatever time they take.
    config.timeouts.legacy_detection = Duration::ZERO;
    config
}

/// An agency run; returns its winners as `1;2 won`, or why it ended without them.
pub async fn run(config: &Config, bets: Bets) -> String {
    let input = Input { bets, source: "agency-1.csv".to_owned(), is_single: false };
    let mut session = Session::new(config, AgencyId::new(1).unwrap(), CancellationToken::new());
    match agency_run::run(&mut session, &input).await {
        Ok(winners) => format!("{winners} won"),
        Err(error) => error.to_string(),
    }
}
