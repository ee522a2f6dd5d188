//! Redis with `appendfsync always` as a contestant.
//!
//! A batch is one RPUSH to its agency's list, a bet a value: what most users would take, and
//! cheaper than a stream's XADD. The protocol is written here: it is a few lines.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Setting;
use super::bets::{Bets, Fields, Packets};
use super::load::{Speaker, Talk};
use super::served::Served;
use crate::daemon::{self, Daemon};
use crate::outcome::{Role, Sample};
use crate::stage::Stage;
use crate::turns::{Contestant, Entry, Pending};
use harness::raw_connection::RawConnection;

const NAME: &str = "Redis";

/// Synced before each answer; without snapshots and rewrites, which would only disturb.
const SETTINGS: [&str; 14] = [
    "--bind",
    "127.0.0.1",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--auto-aof-rewrite-percentage",
    "0",
    "--loglevel",
    "notice",
    "--daemonize",
    "no",
];

/// One agency that pushes its batches.
struct Pushes {
    packets: Packets,
    size: u64,
    length: u64,
}

impl Talk for Pushes {
    fn next(&mut self, packet: &mut Vec<u8>) {
        self.packets.next(packet);
    }

    /// The answer is the length of the list after it.
    fn check(&mut self, answer: &[u8]) -> anyhow::Result<u64> {
        self.length += self.size;
        let wanted = format!(":{}\r\n", self.length);
        ensure!(answer == wanted.as_bytes(), "answered {}", String::from_utf8_lossy(answer));
        Ok(self.size)
    }
}

/// `RPUSH bets:<agency> bet bet …` as Redis reads it.
fn push(batch: &[Fields], agency: u32) -> Vec<u8> {
    let values = batch.iter().map(|fields| fields.join(";"));
    let words = ["RPUSH".to_owned(), format!("bets:{agency}")].into_iter().chain(values);
    let mut packet = format!("*{}\r\n", batch.len() + 2);
    for word in words {
        packet.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    packet.into_bytes()
}

/// A Redis of its own.
struct Redis {
    served: Served<Pushes>,
    address: SocketAddr,
    agencies: u32,
}

impl Redis {
    /// All lists together are exactly as long as what was acknowledged.
    async fn check(self) -> anyhow::Result<()> {
        let acknowledged = self.served.acknowledged();
        let mut connection = RawConnection::open(self.address).await?;
        let mut stored = 0;
        for agency in 1..=self.agencies {
            stored += length(&connection.ask(&format!("LLEN bets:{agency}")).await?)?;
        }
        ensure!(stored == acknowledged, "{stored} bets are stored, {acknowledged} acknowledged");
        drop(connection);
        self.served.stop().await?.close().context("remove what was stored")
    }
}

/// The number in an answer `:3`.
fn length(answer: &str) -> anyhow::Result<u64> {
    let number = answer.strip_prefix(':').and_then(|number| number.trim_end().parse().ok());
    number.with_context(|| format!("answered {answer}"))
}

/// Starts a Redis, if it is installed.
///
/// # Errors
/// It is installed and does not start.
pub async fn enter(setting: Setting, bets: &Bets, stage: &Stage) -> anyhow::Result<Entry> {
    let Some(program) = daemon::find("redis-server") else {
        return Ok(Entry::absent(NAME, "not installed: apt-get install redis-server"));
    };
    let place = stage.place("redis")?;
    let address = daemon::free_address(Ipv4Addr::LOCALHOST)?;
    let mut command = daemon::foreign(&program, None);
    command.args(SETTINGS).arg("--port").arg(address.port().to_string());
    let mut daemon = Daemon::spawn("redis", command, place.path())?;
    daemon.listens(address).await?;
    let agencies = (1..=setting.agencies).map(|agency| {
        let batches = bets.batches(setting.batch, agency);
        let packets = Packets::new(batches.map(|batch| push(batch, agency)));
        let talk = Pushes { packets, size: setting.batch.into(), length: 0 };
        Speaker::connect(address, talk)
    });
    let speakers = agencies.collect::<anyhow::Result<_>>()?;
    let served = Served::new(vec![daemon], speakers, place);
    Ok(Entry::Present(Box::new(Redis { served, address, agencies: setting.agencies })))
}

impl Contestant for Redis {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn round(&mut self, time: Duration) -> Pending<'_, Sample> {
        Box::pin(self.served.round(time))
    }

    fn finish(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_command() {
        let bet = ["Ana", "Paz", "1", "1990-05-17", "7"].map(str::to_owned);
        let packet = String::from_utf8(push(&[bet.clone(), bet], 3)).unwrap();
        let value = "$22\r\nAna;Paz;1;1990-05-17;7\r\n";
        assert_eq!(packet, format!("*4\r\n$5\r\nRPUSH\r\n$6\r\nbets:3\r\n{value}{value}"));
        assert_eq!(length(":12\r").unwrap(), 12);
        assert!(length("-ERR unknown command\r").is_err());
    }
}
