//! A server of the reference system works on the same volume at the same time. It writes rows that
//! end in `\r\n`, knows no intents and no record of the draw, and takes a datagram for a fact.
//!
//! Whatever it leaves: acknowledged rows stand once, torn rows count for no agency, and every
//! instance says the same, before and after a restart. Every form of a row that it may write is
//! read by the property `logs` in `server/tests/properties`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use harness::server_process::ServerProcess;
use socket2::{Domain, Socket, Type};

use crate::common::other_server::OtherServer;
use crate::common::{
    ANA, ANA_ROW, CLOSED, LEO, LEO_ROW, LIMIT, Lottery, Setup, assert_starts, digest, store_rows,
    stored,
};

fn other(lottery: &Lottery) -> OtherServer {
    OtherServer::on(lottery.volume.path())
}

/// Ends every instance, by SIGKILL or in order, and starts it again.
async fn restart(lottery: &mut Lottery, is_killed: bool) {
    for place in 0..lottery.cluster.servers().len() {
        match is_killed {
            true => lottery.kill_and_restart(place).await,
            false => lottery.restart(place).await,
        }
    }
}

/// Ours die anywhere, the other within the first row of a batch, which its client sends again.
/// Before it writes again, one of ours looks: the other would go on in the middle of a line.
#[tokio::test]
async fn processes_of_both_systems_die_among_each_others_batches() {
    let mut lottery = Setup::with_rows(2, 3, 4_000).start().await;
    lottery.expect_alarms("server", &["mend_log"], "a last line without its end");
    lottery.allow_alarms("server", &["mend_log"], "a group whose writer died");
    lottery.allow_alarms("client", &["connect", "connection"], "next: another server");
    let mut clients = vec![lottery.spawn(1), lottery.spawn(2)];
    let other = other(&lottery);
    let text = fs::read_to_string(lottery.bets.file(3)).unwrap();
    for (round, batch) in text.lines().collect::<Vec<_>>().chunks(500).enumerate() {
        let (dying, looking) = (round % 2, 1 - round % 2);
        lottery.kill_and_restart(dying).await;
        lottery.ask(looking, "AgencyStatus:3").await;
        let text: String = batch.iter().map(|row| format!("3,{row}\r\n")).collect();
        other.store(&text.as_bytes()[..10 + round]);
        lottery.ask(dying, "AgencyStatus:3").await;
        other.store(&text);
    }
    other.close("3\n");
    lottery.finish_clients(&mut clients).await;
    // The agency that the other system served asks one of ours, and finds its rows in place.
    lottery.finish_clients(&mut [lottery.spawn(3)]).await;
    for is_killed in [false, true] {
        for agency in lottery.assert_right() {
            let status = format!("AgencyStatusResponse:{};{};drawn", agency.stored, agency.digest);
            lottery.assert_all_answer(&format!("AgencyStatus:{}", agency.agency), &status).await;
        }
        restart(&mut lottery, is_killed).await;
    }
    lottery.end().await;
}

/// A row without its end is cut off, before and after ours. One that has an end stays, and counts
/// for no agency. Ours are stored behind it either way.
#[tokio::test]
async fn torn_rows_of_the_other_system_count_for_no_agency() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.expect_alarms("server", &["mend_log"], "a last line without its end");
    lottery.expect_alarms("server", &["read_log"], "a damaged line");
    let other = other(&lottery);
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
        // Half of the torn rows are found by instances that start.
        if round % 4 < 2 {
            restart(&mut lottery, true).await;
        }
        lottery.assert_status(1, &wire, "open").await;
        wire.push(ANA);
        let answer = lottery.ask(round % 2, &store_rows(1, wire.len(), &[ANA])).await;
        assert_eq!(answer, stored(&wire), "behind {left:?}");
        other.store(LEO_ROW.replace('\n', "\r\n"));
        wire.push(LEO);
        let left = if stays { left } else { "" };
        file += &[left, ANA_ROW, &LEO_ROW.replace('\n', "\r\n")].concat();
        assert_eq!(lottery.stored(), file, "behind {left:?}");
    }
    restart(&mut lottery, false).await;
    lottery.assert_status(1, &wire, "open").await;
    lottery.end().await;
}

/// An agency is closed if its number stands in a line: without an end, with `\r\n`, among blank
/// lines and blanks, twice, beside agencies that there are not. Ours go on in a line of their own.
#[tokio::test]
async fn its_closes_count_however_they_are_written() {
    let closed = format!("AgencyStatusResponse:0;{};closed", digest(&[]));
    for written in
        ["1", "1\n", "1\r\n", " 1 \n", "\n\n1\n\n", "1\n1\n1", "9\n0\n77777\n1", "2\n1\n"]
    {
        let mut lottery = Lottery::start(2, 6).await;
        let other = other(&lottery);
        other.close(written);
        lottery.assert_all_answer("AgencyStatus:1", &closed).await;
        for agency in [2, 1, 3] {
            let answer = lottery.ask(agency % 2, &format!("AgencyClose:{agency};0")).await;
            assert_eq!(answer, CLOSED, "{written:?}");
        }
        // Another program may put the line end before its line.
        other.close("\n4");
        restart(&mut lottery, true).await;
        for agency in 1..=4 {
            lottery.assert_all_answer(&format!("AgencyStatus:{agency}"), &closed).await;
        }
        assert_starts(&lottery.ask(0, &store_rows(6, 1, &[ANA])).await, "StoreRowsResponse:0;1;");
        assert_eq!(lottery.ask(1, "AgencyClose:5;0").await, CLOSED);
        assert!(!lottery.volume.draw().exists());
        assert_eq!(lottery.ask(1, "AgencyClose:6;1").await, CLOSED);
        assert_eq!(lottery.ask(0, "WinnersRequest:6").await, "WinnersResponse:1");
        let text = fs::read_to_string(lottery.volume.agencies_closed()).unwrap();
        for agency in 1..=6 {
            let found = text.lines().any(|line| line.trim() == agency.to_string());
            assert!(found, "agency {agency} has no line in {text:?}, after {written:?}");
        }
        lottery.end().await;
    }
}

/// A socket on the UDP port of these servers, and the address that reaches all of them.
async fn listener(server: &ServerProcess) -> (UdpSocket, SocketAddrV4) {
    let listening = server.log().wait_for(|line| line.is("listen", "success")).await.unwrap();
    let port: u16 = listening.rsplit(':').next().unwrap().trim().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    (socket.into(), SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), port))
}

#[tokio::test]
async fn the_last_close_may_be_the_other_systems() {
    let lottery = Lottery::start(2, 2).await;
    let mut waiting = lottery.send_to_all("WinnersRequest:2").await;
    // An announcement that is not true: both agencies are open.
    let (socket, all) = listener(&lottery.cluster.servers()[0]).await;
    socket.send_to(b"bet_ended", all).unwrap();
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    assert_eq!(lottery.ask(1, "AgencyClose:1;1").await, CLOSED);
    assert!(!lottery.volume.draw().exists());
    for connection in &mut waiting {
        assert!(connection.is_silent().unwrap());
    }
    let other = other(&lottery);
    other.store("2,Leo,Sol,9,2000-01-02,7574\r\n");
    other.close("2\n");
    for mut connection in waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:9");
    }
    assert_eq!(lottery.ask(1, "WinnersRequest:1").await, "WinnersResponse:1");
    lottery.end().await;
}

/// A server of the other system holds its own draw at a datagram. How often a draw is announced is
/// shown with paused time, in `server/src/watch.rs`.
#[tokio::test]
async fn the_draw_is_announced_when_it_is_on_record_and_not_before() {
    let lottery = Lottery::start(2, 2).await;
    let (socket, _) = listener(&lottery.cluster.servers()[0]).await;
    lottery.ask(0, "AgencyClose:1;0").await;
    lottery.ask(1, "AgencyClose:2;0").await;
    let (draw, mut datagram) = (lottery.volume.draw(), [0; 64]);
    let heard = tokio::task::spawn_blocking(move || {
        let bytes = socket.recv(&mut datagram).unwrap();
        (datagram[..bytes].to_vec(), draw.exists())
    });
    assert_eq!(heard.await.unwrap(), (b"bet_ended".to_vec(), true));
    lottery.end().await;
}
