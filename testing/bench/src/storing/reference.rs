//! Any server of the protocol, spoken to as the reference's client does: a connection a packet,
//! `StoreBatch` in the reference's form.
//!
//! What it stores is not counted: nothing but its answers is known of it. One that is on another
//! machine, with another disk and a network between, is compared with nothing.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Setting;
use super::bets::{self, Bets, Packets};
use super::load::{self, Speaker, Talk};
use super::measures::sample;
use super::ours::Ours;
use crate::cli::Options;
use crate::outcome::{Case, Role, Sample};
use crate::stage::Stage;
use crate::turns::{Contestant, Entry, Pending, take_turns};

/// What the reference's clients are set to.
const SETTING: Setting = Setting { agencies: 5, batch: 20 };

/// The servers `peers`, `host:port` each, and as many instances of ours on the same terms: each
/// packet goes to any of them.
///
/// # Errors
/// One of them does not answer, or refuses a batch.
pub async fn case(
    peers: &[String],
    options: &Options,
    bets: &Bets,
    stage: &Stage,
) -> anyhow::Result<Case> {
    let addresses = peers.iter().map(|peer| address(peer)).collect::<anyhow::Result<Vec<_>>>()?;
    let instances = u8::try_from(peers.len()).context("--peer: too many servers")?;
    let speaker =
        |agency, addresses: &[SocketAddr]| Ok(Speaker::anew(addresses, Batches::new(agency, bets)));
    let ours = Ours::start(SETTING, instances, stage, speaker).await?;
    let speakers = (1..=SETTING.agencies).map(|agency| speaker(agency, &addresses));
    let speakers = speakers.collect::<anyhow::Result<_>>()?;
    let is_here = addresses.iter().all(|address| is_here(address.ip()));
    let role = if is_here { Role::Peer } else { Role::Elsewhere };
    let name = format!("peer {}", peers.join(", "));
    if !is_here {
        stage.note(&format!("{name}: not an address of this machine, no ratio to it"));
    }
    let peer = Peer { name, role, speakers };
    let entries = vec![Entry::Present(Box::new(ours)), Entry::Present(Box::new(peer))];
    Ok(Case {
        name: format!("{}, a connection a packet (the reference's terms)", SETTING.name()),
        parameters: SETTING.parameters(),
        standings: take_turns(entries, options.effort(), &stage.stop).await?,
    })
}

/// Where a peer listens.
fn address(peer: &str) -> anyhow::Result<SocketAddr> {
    let address = peer.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    address.with_context(|| format!("--peer {peer}: not an address host:port"))
}

/// Whether `ip` is one of this machine's: only those can be listened at.
fn is_here(ip: IpAddr) -> bool {
    TcpListener::bind((ip, 0)).is_ok()
}

/// One agency that sends `StoreBatch`.
struct Batches {
    packets: Packets,
}

impl Batches {
    fn new(agency: u32, bets: &Bets) -> Self {
        let batches = bets.batches(SETTING.batch, agency);
        let packet = |batch| format!("StoreBatch:{agency}:{}\n", bets::wire(batch)).into_bytes();
        Self { packets: Packets::new(batches.map(packet)) }
    }
}

impl Talk for Batches {
    fn next(&mut self, packet: &mut Vec<u8>) {
        self.packets.next(packet);
    }

    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        let is_stored = answer == b"StoreResponse:0\n";
        ensure!(is_stored, "answered {}", String::from_utf8_lossy(answer));
        Ok(SETTING.batch.into())
    }
}

/// A server of somebody else, of which nothing but its answers is known.
struct Peer {
    name: String,
    role: Role,
    speakers: Vec<Speaker<Batches>>,
}

impl Contestant for Peer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn role(&self) -> Role {
        self.role
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(async move {
            let (speakers, spoken) = load::run(std::mem::take(&mut self.speakers), time).await?;
            self.speakers = speakers;
            Ok(sample(spoken, None, None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_here() {
        assert!(is_here(IpAddr::from([127, 0, 0, 3])));
        // Kept for documentation: nobody has it.
        assert!(!is_here(IpAddr::from([192, 0, 2, 1])));
    }
}
