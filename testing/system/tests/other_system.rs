//! A server of the reference system works on the same volume at the same time: it opens the lock
//! files with truncation, writes rows that end in `\r\n` in pieces of a buffer, never syncs, knows
//! no intents and no record of the draw, and takes a datagram for a fact.
//!
//! Whatever it leaves: rows that were acknowledged stand once, the rest is nobody's row, and every
//! instance says the same, before and after a restart.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};

use common::{LIMIT, Lottery, Setup, digest, rows};
use fs2::FileExt as _;
use harness::server_process::ServerProcess;
use harness::udp_port::UdpPort;
use socket2::{Domain, Socket, Type};

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";
const ANA_ROW: &str = "1,Ana,Paz,1,2000-01-01,7574";
const LEO_ROW: &str = "1,Leo,Sol,2,2000-01-02,8";

/// The buffer through which its files are written: a longer batch is several writes.
const BUFFER_BYTES: usize = 8 * 1024;

/// The other system's server, as far as the volume sees it.
struct OtherServer {
    volume: PathBuf,
}

impl OtherServer {
    fn of(lottery: &Lottery) -> Self {
        Self { volume: lottery.volume.path().to_owned() }
    }

    fn locked(&self, lock: &str) -> File {
        let path = self.volume.join("locks").join(lock);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
        file.lock_exclusive().unwrap();
        file
    }

    fn append(path: &Path, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        for piece in bytes.chunks(BUFFER_BYTES) {
            file.write_all(piece).unwrap();
        }
    }

    /// Appends to the bets as they are given, under the lock.
    fn store(&self, text: impl AsRef<[u8]>) {
        let _lock = self.locked("bets.csv.lock");
        Self::append(&self.volume.join("bets.csv"), text.as_ref());
    }

    /// Appends to the closes as they are given, under the lock.
    fn close(&self, text: &str) {
        let _lock = self.locked("agencies_closed.lock");
        Self::append(&self.volume.join("agencies_closed.txt"), text.as_bytes());
    }

    /// Stores the rows of an agency, so many at a time, and closes it.
    fn serve(&self, agency: u32, rows: &str, batch: usize) {
        let lines: Vec<_> = rows.lines().collect();
        for batch in lines.chunks(batch) {
            self.store(batch.iter().map(|row| format!("{agency},{row}\r\n")).collect::<String>());
        }
        self.close(&format!("{agency}\n"));
    }
}

/// Every instance says this of the agency.
async fn assert_status(lottery: &Lottery, agency: u32, status: &str) {
    for place in 0..lottery.cluster.servers().len() {
        let answer = lottery.ask(place, &format!("AgencyStatus:{agency}")).await;
        assert_eq!(answer, format!("AgencyStatusResponse:{status}"), "instance {place}");
    }
}

/// Ends every instance, by SIGKILL or in order, and starts it again.
async fn restart(lottery: &mut Lottery, is_killed: bool) {
    for server in lottery.cluster.servers_mut() {
        if is_killed {
            server.kill().await.unwrap();
        } else {
            server.stop().await.unwrap();
        }
        server.restart().await.unwrap();
    }
}

#[tokio::test]
async fn both_systems_store_at_the_same_time_and_one_draw_is_over_all_of_it() {
    let mut setup = Setup::new(2, 4);
    for agency in 1..=4 {
        setup = setup.rows(agency, &rows(agency, 3_000, agency));
    }
    let lottery = setup.start().await;
    let mut clients = vec![lottery.spawn(1), lottery.spawn(3)];
    let serving = [(2, 20), (4, 400)].map(|(agency, batch)| {
        let other = OtherServer::of(&lottery);
        let text = fs::read_to_string(lottery.bets.file(agency)).unwrap();
        tokio::task::spawn_blocking(move || other.serve(agency, &text, batch))
    });
    for serving in serving {
        serving.await.unwrap();
    }
    lottery.finish_clients(&mut clients).await;
    // The agencies that the other system served ask one of ours, and find their rows in place.
    lottery.finish_clients(&mut [lottery.spawn(2), lottery.spawn(4)]).await;
    lottery.assert_right();
    lottery.end().await;
}

/// Ours die anywhere, the other within the first row of a batch, which its client sends again.
/// Before it writes again, one of ours looks: it would go on in the middle of a line.
#[tokio::test]
async fn processes_of_both_systems_die_among_each_others_batches() {
    let mut setup = Setup::new(2, 3);
    for agency in 1..=3 {
        setup = setup.rows(agency, &rows(agency, 4_000, 3));
    }
    let mut lottery = setup.start().await;
    lottery.expect_alarm("server", "mend_log", "a last line without its end");
    lottery.allow_alarm("server", "mend_log", "a group whose writer died");
    for action in ["connect", "connection"] {
        lottery.allow_alarm("client", action, "next: another server");
    }
    let mut clients = vec![lottery.spawn(1), lottery.spawn(2)];
    let other = OtherServer::of(&lottery);
    let text = fs::read_to_string(lottery.bets.file(3)).unwrap();
    for (round, batch) in text.lines().collect::<Vec<_>>().chunks(500).enumerate() {
        let (dying, looking) = (round % 2, 1 - round % 2);
        let server = &mut lottery.cluster.servers_mut()[dying];
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        lottery.ask(looking, "AgencyStatus:3").await;
        let text: String = batch.iter().map(|row| format!("3,{row}\r\n")).collect();
        other.store(&text.as_bytes()[..10 + round]);
        lottery.ask(dying, "AgencyStatus:3").await;
        other.store(&text);
    }
    other.close("3\n");
    lottery.finish_clients(&mut clients).await;
    lottery.finish_clients(&mut [lottery.spawn(3)]).await;
    for is_killed in [false, true] {
        for agency in lottery.assert_right().agencies {
            let status = format!("{};{};drawn", agency.stored, agency.digest);
            assert_status(&lottery, agency.agency, &status).await;
        }
        restart(&mut lottery, is_killed).await;
    }
    lottery.end().await;
}

/// A row that it left without its end is cut off, before and after ours; one that has an end stays
/// and is nobody's row. Ours are stored behind it either way.
#[tokio::test]
async fn rows_that_it_left_torn_are_nobodys_rows() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.expect_alarm("server", "mend_log", "a last line without its end");
    lottery.expect_alarm("server", "read_log", "a damaged line");
    let other = OtherServer::of(&lottery);
    let (mut file, mut wire) = (String::new(), Vec::new());
    for (round, (left, stays)) in [
        ("1,Leo,Sol,2,2000-01-02", false),
        ("1,Leo,Sol,2,2000-01-02,8\r", false),
        ("1", false),
        ("1,\"Leo, S", false),
        ("1,Leo,Sol\r\n", true),
        // Unbalanced: to a reader of CSV, the row would go on in the lines behind it.
        ("1,\"Leo,Sol,2,2000-01-02,8\r\n", true),
        ("1,Leo,So1,Leo,Sol,2,2000-01-02,8\r\n", true),
        ("\r\n", true),
    ]
    .into_iter()
    .enumerate()
    {
        other.store(left);
        let status = format!("{};{};open", wire.len(), digest(&wire));
        assert_status(&lottery, 1, &status).await;
        wire.push(ANA);
        let packet = format!("StoreRows:1;{}:{ANA}", wire.len());
        let answer = format!("StoreRowsResponse:0;{};{}", wire.len(), digest(&wire));
        assert_eq!(lottery.ask(round % 2, &packet).await, answer, "behind {left:?}");
        other.store(format!("{LEO_ROW}\r\n"));
        wire.push(LEO);
        file += &format!("{}{ANA_ROW}\n{LEO_ROW}\r\n", if stays { left } else { "" });
        assert_eq!(lottery.stored(), file, "behind {left:?}");
        restart(&mut lottery, round % 2 == 0).await;
    }
    let status = format!("{};{};open", wire.len(), digest(&wire));
    assert_status(&lottery, 1, &status).await;
    lottery.end().await;
}

/// Quotes where none are needed, quotes within quotes, empty fields, names that hold what
/// separates elsewhere: rows are taken as they are, and win by their number.
#[tokio::test]
async fn its_quoting_is_read_and_its_odd_rows_count() {
    let mut lottery = Lottery::start(2, 2).await;
    let other = OtherServer::of(&lottery);
    let first = [
        ("\"1\",\"Paz, Ana\",\"O\"\"H\",1,2000-01-01,\"7574\"", "Paz, Ana;O\"H;1;2000-01-01;7574"),
        ("1,\"\",\"\",2,,8", ";;2;;8"),
        ("1,\"a;b\",c:d,3,yesterday,07574", "a;b;c:d;3;yesterday;7574"),
        ("1,Ana,Paz,\"X,1\",2000-01-01,7574x", "Ana;Paz;X,1;2000-01-01;7574x"),
    ];
    let text: String = first.iter().map(|(row, _)| format!("{row}\r\n")).collect();
    other.store(format!("{text}7,No,Agency,4,2000-01-01,7574\r\n"));
    let mut wire: Vec<&str> = first.iter().map(|(_, wire)| *wire).collect();
    wire.push(ANA);
    let answer = format!("StoreRowsResponse:0;5;{}", digest(&wire));
    assert_eq!(lottery.ask(0, &format!("StoreRows:1;5:{}", ANA)).await, answer);
    restart(&mut lottery, true).await;
    assert_status(&lottery, 1, &format!("5;{};open", digest(&wire))).await;
    other.close("1\n2\n");
    for place in 0..2 {
        assert_eq!(lottery.ask(place, "WinnersRequest:1").await, "WinnersResponse:1;3;1");
        assert_eq!(lottery.ask(place, "WinnersRequest:2").await, "WinnersResponse:");
    }
    lottery.end().await;
}

/// Lines without an end, with `\r\n`, blank, with blanks, twice, and of agencies that there are
/// not: an agency is closed if its number stands in a line, and ours go on in a line of their own.
#[tokio::test]
async fn its_closes_count_however_they_are_written() {
    let open = |place: usize| format!("StoreRows:6;{}:{ANA}", place + 1);
    for written in
        ["1", "1\n", "1\r\n", " 1 \n", "\n\n1\n\n", "1\n1\n1", "9\n0\n77777\n1", "2\n1\n"]
    {
        let mut lottery = Lottery::start(2, 6).await;
        let other = OtherServer::of(&lottery);
        other.close(written);
        let closed = "0;0000000000000000;closed";
        assert_status(&lottery, 1, closed).await;
        for agency in [2, 1, 3] {
            let answer = lottery.ask(agency % 2, &format!("AgencyClose:{agency};0")).await;
            assert_eq!(answer, "AgencyCloseResponse:0", "{written:?}");
        }
        // Another program may put the line end before its line.
        other.close("\n4");
        restart(&mut lottery, true).await;
        for agency in 1..=4 {
            assert_status(&lottery, agency, closed).await;
        }
        assert!(lottery.ask(0, &open(0)).await.starts_with("StoreRowsResponse:0;1;"));
        assert_eq!(lottery.ask(1, "AgencyClose:5;0").await, "AgencyCloseResponse:0");
        assert!(!lottery.volume.draw().exists());
        assert_eq!(lottery.ask(1, "AgencyClose:6;1").await, "AgencyCloseResponse:0");
        assert_eq!(lottery.ask(0, "WinnersRequest:6").await, "WinnersResponse:1");
        let text = fs::read_to_string(lottery.volume.agencies_closed()).unwrap();
        for agency in 1..=6 {
            let found = text.lines().any(|line| line.trim() == agency.to_string());
            assert!(found, "agency {agency} has no line in {text:?}, after {written:?}");
        }
        lottery.end().await;
    }
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
    OtherServer::of(&lottery).serve(2, "Leo,Sol,9,2000-01-02,7574\n", 1);
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:9");
    }
    assert_eq!(lottery.ask(1, "WinnersRequest:1").await, "WinnersResponse:5");
    lottery.end().await;
}

/// How many datagrams have come that were not read yet.
fn waiting_datagrams(ears: &UdpSocket) -> usize {
    ears.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| ears.recv(&mut [0; 64]).ok()).count()
}

/// Every instance knows of the draw; then all of them end, as what is still to be announced is
/// announced at the end.
async fn know_the_draw_and_end(lottery: &mut Lottery) {
    for server in lottery.cluster.servers() {
        server.wait_for("the draw", LIMIT, |line| line.is("sorteo", "success")).await.unwrap();
    }
    lottery.cluster.stop().await.unwrap();
}

/// A server of the other system logs the draw for each datagram.
#[tokio::test]
async fn several_instances_send_one_datagram_for_a_draw() {
    let mut lottery = Setup::new(3, 3).start().await;
    let (ears, _) = ears(&lottery.cluster.servers()[0]).await;
    for agency in 1..=3 {
        lottery.ask(agency - 1, &format!("AgencyClose:{agency};0")).await;
    }
    know_the_draw_and_end(&mut lottery).await;
    assert_eq!(waiting_datagrams(&ears), 1);
    lottery.end().await;
}

/// The instance that holds the draw announces it where the others do not hear it.
#[tokio::test]
async fn a_draw_whose_datagram_is_lost_is_announced_by_one_of_the_others() {
    let mut lottery = Setup::new(3, 1).start().await;
    let port = UdpPort::take().unwrap();
    let server = &mut lottery.cluster.servers_mut()[0];
    server.stop().await.unwrap();
    server.set("UDP_BROADCAST_PORT", port.number().unwrap());
    server.restart().await.unwrap();
    let (ears, _) = ears(&lottery.cluster.servers()[1]).await;
    lottery.ask(0, "AgencyClose:1;0").await;
    let heard = tokio::task::spawn_blocking(move || {
        ears.recv(&mut [0; 64]).unwrap();
        ears
    });
    let ears = heard.await.unwrap();
    know_the_draw_and_end(&mut lottery).await;
    assert_eq!(waiting_datagrams(&ears), 0, "one was enough");
    lottery.end().await;
}

#[tokio::test]
async fn a_draw_that_the_other_system_announced_is_not_announced_again() {
    let mut lottery = Setup::new(2, 2).start().await;
    let (ears, everybody) = ears(&lottery.cluster.servers()[0]).await;
    lottery.ask(0, "AgencyClose:1;0").await;
    let other = OtherServer::of(&lottery);
    let lock = other.locked("agencies_closed.lock");
    OtherServer::append(&lottery.volume.agencies_closed(), b"2\n");
    ears.send_to(b"bet_ended", everybody).unwrap();
    drop(lock);
    know_the_draw_and_end(&mut lottery).await;
    assert_eq!(waiting_datagrams(&ears), 1, "its own");
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
