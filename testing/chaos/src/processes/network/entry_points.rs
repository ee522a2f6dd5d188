//! Where clients find the servers: proxies, each of which can be at one of two addresses, and
//! addresses of which nothing comes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;

use crate::plan::{AgencyPlan, PROXY_PART, RunPlan};
use crate::processes::network::names::Names;
use crate::processes::network::proxy::{Proxy, ProxyContext};
use crate::report::Report;
use harness::rng::Rng;

/// The first three bytes of all addresses of a run.
pub type Network = [u8; 3];

/// The last bytes of addresses: where the first proxy is and where it moves to, and where nobody
/// listens or answers.
const PROXY_HOSTS: [u8; 2] = [101, 151];
const MUTE_HOST: u8 = 201;
const DEAD_HOST: u8 = 211;

/// What clients know of the servers.
#[derive(Debug)]
pub struct EntryPoints {
    network: Network,
    proxies: Vec<Proxy>,
    names: Option<Names>,
    /// The name of the servers.
    name: String,
    /// Whether clients must know where the proxies can be.
    has_moves: bool,
    mute: TcpListener,
    report: Report,
}

impl EntryPoints {
    /// Proxies before all servers, and a name for them where `names` are to be had.
    ///
    /// # Errors
    /// There are no addresses for them.
    pub async fn start(
        plan: &RunPlan,
        network: Network,
        names: Option<Names>,
        shared: &ProxyContext,
    ) -> anyhow::Result<Self> {
        let mut proxies: Vec<Proxy> = Vec::new();
        for place in 0..plan.servers {
            let ips = PROXY_HOSTS.map(|first| host(network, first + place as u8));
            // All on one port, so that one name can stand for them.
            let port = proxies.first().map_or(0, |proxy| proxy.address().port());
            let rng = Rng::new(plan.seed).fork(PROXY_PART + place as u64);
            proxies.push(Proxy::start(place, ips, port, shared.clone(), rng).await?);
        }
        let name = format!("lottery-{}", plan.seed);
        let mute = TcpListener::bind((host(network, MUTE_HOST), 0)).context("bind mute")?;
        let (has_moves, report) = (plan.has_moves(), shared.lottery.report.clone());
        let entry_points = Self { network, proxies, names, name, has_moves, mute, report };
        entry_points.show()?;
        Ok(entry_points)
    }

    /// Whether the servers have a name whose addresses can change.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.names.is_some()
    }

    /// Gives the name the addresses of all proxies.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn show(&self) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.proxies.len()).collect();
        self.show_only(&all, false)
    }

    /// Gives the name the addresses of the proxies at these places alone, and perhaps one without a
    /// listener.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn show_only(&self, places: &[usize], has_dead: bool) -> anyhow::Result<()> {
        let Some(names) = &self.names else { return Ok(()) };
        let shown = places.iter().filter_map(|place| self.proxies.get(*place));
        let dead = has_dead.then(|| host(self.network, DEAD_HOST));
        let addresses: Vec<_> = shown.map(Proxy::ip).chain(dead).collect();
        names.set(&self.name, &addresses).context("write the servers' name")
    }

    /// The agency's setting of the servers' addresses: their name, or all addresses that it knows,
    /// of which some have no listener, now or ever.
    ///
    /// # Errors
    /// An address is not known.
    pub fn servers_of(&self, plan: &AgencyPlan) -> anyhow::Result<String> {
        let first = self.proxies.first().filter(|_| plan.is_by_name && self.has_name());
        if let Some(proxy) = first {
            self.report.fault("client that knows a name only");
            return Ok(format!("{}:{}", self.name, proxy.address().port()));
        }
        let mut addresses: Vec<SocketAddr> = if self.has_moves {
            self.proxies.iter().flat_map(Proxy::addresses).collect()
        } else {
            self.proxies.iter().map(Proxy::address).collect()
        };
        for dead in 0..plan.dead_addresses {
            self.report.fault("dead address in a list");
            addresses.push(SocketAddr::from((host(self.network, DEAD_HOST + dead as u8), 9)));
        }
        if plan.has_mute_address {
            self.report.fault("mute address in a list");
            addresses.push(self.mute.local_addr().context("find a mute address")?);
        }
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        Ok(addresses.join(","))
    }

    /// The proxy at `place` ends all its connections, and is at its other address; returns whether
    /// that is not the one of its start. The name has the old address until it is shown again.
    ///
    /// # Errors
    /// The address is used by something else.
    pub async fn move_to_other_address(&mut self, place: usize) -> anyhow::Result<bool> {
        let proxy = self.proxies.get_mut(place).context("find a proxy")?;
        proxy.move_to_other_address().await?;
        Ok(proxy.is_moved())
    }
}

impl Drop for EntryPoints {
    fn drop(&mut self) {
        // The name goes with its run.
        let _ = self.show_only(&[], false);
    }
}

/// The address in `network` that ends so.
#[must_use]
pub fn host([a, b, c]: Network, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}
