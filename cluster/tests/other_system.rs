//! A server of the reference system works on the same volume at the same time: it opens the lock
//! files with truncation, writes rows that end in `\r\n`, never syncs, knows no intents and no
//! record of the draw, and takes a datagram for a fact.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};

use cluster::server_process::ServerProcess;
use common::{LIMIT, Setup, rows};
use fs2::FileExt as _;
use socket2::{Domain, Socket, Type};

/// The other system's server, as far as the volume sees it.
struct OtherServer {
    volume: PathBuf,
}

impl OtherServer {
    fn locked(&self, lock: &str) -> File {
        let path = self.volume.join("locks").join(lock);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
        file.lock_exclusive().unwrap();
        file
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Stores the rows of an agency, twenty at a time, and closes it.
    fn serve(&self, agency: u32, rows: &str) {
        let lines: Vec<_> = rows.lines().collect();
        for batch in lines.chunks(20) {
            let _lock = self.locked("bets.csv.lock");
            let text: String = batch.iter().map(|row| format!("{agency},{row}\r\n")).collect();
            Self::append(&self.volume.join("bets.csv"), &text);
        }
        let _lock = self.locked("agencies_closed.lock");
        Self::append(&self.volume.join("agencies_closed.txt"), &format!("{agency}\n"));
    }
}

#[tokio::test]
async fn both_systems_store_at_the_same_time_and_one_draw_is_over_all_of_it() {
    let (ours, others) = (rows(1, 3_000, 3), rows(2, 3_000, 2));
    let lottery = Setup::new(2, 3).rows(1, &ours).rows(2, &others).rows(3, &ours).start().await;
    let other = OtherServer { volume: lottery.volume.path().to_owned() };
    let mut clients = vec![lottery.spawn(1), lottery.spawn(3)];
    let serving = tokio::task::spawn_blocking(move || other.serve(2, &others));
    serving.await.unwrap();
    lottery.finish_clients(&mut clients).await;
    // The agency that the other system served asks one of ours, and finds its rows in place.
    lottery.finish_clients(&mut [lottery.spawn(2)]).await;
    lottery.assert_right();
    lottery.end().await;
}

/// Hears what is announced on the UDP port of these servers; with where to announce to them.
async fn ears(server: &ServerProcess) -> (UdpSocket, SocketAddrV4) {
    let listening = server.log().wait_for(|line| line.is("listen", "success")).await.unwrap();
    let port: u16 = listening.rsplit(':').next().unwrap().trim().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    let everywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    socket.bind(&everywhere.into()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    (socket.into(), SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), port))
}

#[tokio::test]
async fn the_last_close_may_be_the_other_systems() {
    let lottery = Setup::new(2, 2).start().await;
    let mut waiting = lottery.connect_all().await;
    for connection in &mut waiting {
        connection.send("WinnersRequest:2\n").await.unwrap();
    }
    // Said by somebody, but not true: both agencies are open.
    let (ears, everybody) = ears(&lottery.cluster.servers()[0]).await;
    ears.send_to(b"bet_ended", everybody).unwrap();
    lottery.ask(0, "StoreRows:1;1:Ana;Paz;5;2000-01-01;7574").await;
    assert_eq!(lottery.ask(1, "AgencyClose:1;1").await, "AgencyCloseResponse:0");
    assert!(!lottery.volume.draw().exists());
    for connection in &mut waiting {
        assert!(connection.is_silent().unwrap());
    }
    let other = OtherServer { volume: lottery.volume.path().to_owned() };
    other.serve(2, "Leo,Sol,9,2000-01-02,7574\n");
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:9");
    }
    assert_eq!(lottery.ask(1, "WinnersRequest:1").await, "WinnersResponse:5");
    lottery.end().await;
}

#[tokio::test]
async fn the_draw_is_announced_when_it_is_on_record_and_not_before() {
    let lottery = Setup::new(2, 2).start().await;
    let (ears, _) = ears(&lottery.cluster.servers()[0]).await;
    lottery.ask(0, "AgencyClose:1;0").await;
    lottery.ask(1, "AgencyClose:2;0").await;
    let (draw, mut datagram) = (lottery.volume.draw(), [0; 64]);
    let heard = tokio::task::spawn_blocking(move || {
        let bytes = ears.recv(&mut datagram).unwrap();
        (datagram[..bytes].to_vec(), draw.exists())
    });
    assert_eq!(heard.await.unwrap(), (b"bet_ended".to_vec(), true));
    lottery.end().await;
}
