//! Any server of the protocol, used as the reference's client does: a connection a packet,
//! `StoreBatch` in the reference's form.
//!
//! What it stores is not counted, because only its answers are known. One on another machine, with
//! another disk and a network between, is compared with nothing.

use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};

use anyhow::{Context as _, ensure};
use harness::raw_connection::RawConnection;
use rand::seq::IndexedRandom as _;

use super::Setting;
use super::bets::{self, Bets, Cycle};
use super::load::{Agency, Load, Loaded, Store};
use super::ours::Ours;
use crate::instances::counted;
use crate::place::Place;
use crate::results::{Case, Role};
use crate::turns::Entry;

/// What the reference's clients are set to.
const SETTING: Setting = Setting { agencies: 5, batch: 20 };

/// The servers `peers`, `host:port` each, and as many instances of ours on the same terms: each
/// packet goes to any of them.
///
/// # Errors
/// One of them does not answer, or refuses a batch.
pub async fn case(peers: &[String], bets: &Bets, place: &Place) -> anyhow::Result<Case> {
    let addresses = peers.iter().map(|peer| address(peer)).collect::<anyhow::Result<Vec<_>>>()?;
    let count = u8::try_from(peers.len()).context("--peer: too many servers")?;
    let ours = Ours::start(place, place.directory("ours")?, count, SETTING, 0).await?;
    let is_here = addresses.iter().all(|address| is_here(address.ip()));
    let role = if is_here { Role::Peer } else { Role::Elsewhere };
    let peer = format!("peer {}", peers.join(", "));
    if !is_here {
        place.note(&format!("{peer}: not an address of this machine, no ratio to it"));
    }
    let load = batches(bets, &ours.instances.addresses());
    let entries = vec![
        Entry::new(&counted(count), Role::Ours, Loaded { store: ours, load }),
        Entry::new(&peer, role, Loaded { store: Peer, load: batches(bets, &addresses) }),
    ];
    let name = format!("{}, a connection a packet (the reference's terms)", SETTING.name());
    place.measure(name, &SETTING.parameters(), entries).await
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

/// An agency that sends each `StoreBatch` on a new connection to a random server.
struct Batches {
    packets: Cycle<String>,
    servers: Vec<SocketAddr>,
}

fn batches(bets: &Bets, servers: &[SocketAddr]) -> Load<Batches> {
    let agency = |agency| {
        let packet = |batch| format!("StoreBatch:{agency}:{}", bets::wire(batch));
        let packets = Cycle::new(bets.batches(SETTING.batch, agency).map(packet));
        Batches { packets, servers: servers.to_vec() }
    };
    Load::new((1..=SETTING.agencies).map(agency).collect())
}

impl Agency for Batches {
    async fn store(&mut self) -> anyhow::Result<u64> {
        let server = *self.servers.choose(&mut rand::rng()).context("no address")?;
        let connection = RawConnection::open(server).await;
        let mut connection = connection.with_context(|| format!("connect to {server}"))?;
        let answer = connection.ask(self.packets.next()?).await?;
        ensure!(answer == "StoreResponse:0", "answered {answer}");
        Ok(SETTING.batch.into())
    }
}

/// A server of which only the answers are known.
struct Peer;

impl Store for Peer {
    async fn finish(self) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_here() {
        assert!(is_here(IpAddr::from([127, 0, 0, 3])));
        // Reserved for documentation: no machine has it.
        assert!(!is_here(IpAddr::from([192, 0, 2, 1])));
    }
}
