//! This project's instances over one volume, with their defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::daemon::{self, Daemon};
use harness::cluster::Plan;
use harness::udp_port::UdpPort;
use harness::volume::Volume;

/// The number that wins in every measurement.
pub const WINNING_NUMBER: u16 = 7574;

/// Running instances, the first at 127.0.0.1, the next at 127.0.0.2, …
pub struct Instances {
    daemons: Vec<Daemon>,
    addresses: Vec<SocketAddr>,
    /// Held so that the port stays these instances'.
    _udp_port: UdpPort,
}

impl Instances {
    /// Starts `count` instances of a lottery of `agencies` whose volume, and whose logs, are in
    /// `place`; waits for nothing.
    ///
    /// # Errors
    /// They do not start.
    pub fn launch(binary: &Path, count: u8, agencies: u32, place: &Path) -> anyhow::Result<Self> {
        let udp_port = UdpPort::take().context("take a UDP port")?;
        let plan = Plan {
            binary: binary.to_owned(),
            servers: count,
            agencies,
            winner_number: WINNING_NUMBER,
            network: [127, 0, 0],
            directory: place.to_owned(),
            volume: Volume::new(place),
            server_settings: Vec::new(),
        };
        let (mut daemons, mut addresses) = (Vec::new(), Vec::new());
        for instance in 1..=count {
            let address = daemon::free_address(Ipv4Addr::new(127, 0, 0, instance))?;
            let launch = plan.server(instance, udp_port.number()?);
            let launch = launch.with("SERVER_PORT", address.port());
            daemons.push(Daemon::launch(&format!("server-{instance}"), &launch, place)?);
            addresses.push(address);
        }
        Ok(Self { daemons, addresses, _udp_port: udp_port })
    }

    /// As [`Instances::launch`], and waits until all of them listen.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start(
        binary: &Path,
        count: u8,
        agencies: u32,
        place: &Path,
    ) -> anyhow::Result<Self> {
        let mut instances = Self::launch(binary, count, agencies, place)?;
        for (daemon, address) in instances.daemons.iter_mut().zip(&instances.addresses) {
            daemon.listens(*address).await?;
        }
        Ok(instances)
    }

    /// Where they listen, one after the other, over and over.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + Clone {
        self.addresses.iter().copied().cycle()
    }

    /// Processor time of all of them since their start.
    ///
    /// # Errors
    /// One has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        self.daemons.iter().map(Daemon::processor_time).sum()
    }

    /// The most memory that one of them ever had resident, in MiB.
    ///
    /// # Errors
    /// One has ended.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        let mut all = self.daemons.iter().map(Daemon::memory_mib);
        all.try_fold(0.0_f64, |most, memory| memory.map(|it| most.max(it)))
    }

    /// Ends all of them in order: then nothing is pending on the volume.
    ///
    /// # Errors
    /// One does not end in order.
    pub async fn stop(self) -> anyhow::Result<()> {
        for daemon in self.daemons {
            daemon.stop(Signal::TERM).await.context("end a server")?;
        }
        Ok(())
    }
}

/// `1 instance`, `3 instances`.
#[must_use]
pub fn counted(instances: usize) -> String {
    match instances {
        1 => "1 instance".to_owned(),
        more => format!("{more} instances"),
    }
}
