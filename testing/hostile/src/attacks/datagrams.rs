//! Datagrams to the port on which instances hint to each other: forged, senseless, huge.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::attack::{Report, Target};

/// How many are sent before the thread does something else.
const BURST: u32 = 64;

/// Sends them as fast as the system takes them, or at `rate` a second.
pub async fn flood(target: &Target, rate: Option<u64>) -> anyhow::Result<Report> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
    let socket = socket.context("open a socket for datagrams")?;
    socket.set_broadcast(true).context("send broadcasts")?;
    let huge = vec![b'x'; 60_000];
    let kinds: [&[u8]; 6] = [b"bet_ended", b"bet_ended", b"", b"bet_ende", &huge, b"\xff\0"];
    target.ready.notify_one();
    let (mut report, mut next) = (Report::default(), Instant::now());
    while !target.stop.is_cancelled() {
        for datagram in kinds.iter().cycle().take(BURST as usize) {
            // One that the system does not take is lost, as any may be.
            if let Ok(bytes) = socket.try_send_to(datagram, target.udp) {
                report.lines += 1;
                report.bytes += bytes as u64;
            }
        }
        match rate {
            None => tokio::task::yield_now().await,
            Some(rate) => {
                next += Duration::from_secs(1) * BURST / rate as u32;
                sleep_until(next).await;
            }
        }
    }
    Ok(report)
}
