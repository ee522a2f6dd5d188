//! The wire, byte by byte, against a real server: every packet, every refusal, every cutting.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Lottery, digest, ends_connection};
use harness::raw_connection::RawConnection;

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";
const EVA: &str = "Eva, \"E\";Gómez;3;2000-02-29;7574";

/// Asks on `connection`. Because the server closes it after the answer to a `StoreBatch` in the
/// reference's form, and after no other one, a new one takes its place then.
async fn ask(lottery: &Lottery, connection: &mut RawConnection, packet: &str) -> String {
    let answer = connection.ask(packet).await.unwrap();
    if ends_connection(packet) {
        let closed = std::mem::replace(connection, lottery.connect(0).await);
        assert_eq!(closed.end().await.unwrap(), b"", "after {packet:.100}");
    }
    answer
}

/// Asks every packet; all answers must be these.
async fn converse(lottery: &Lottery, conversation: &[(&str, &str)]) {
    let mut connection = lottery.connect(0).await;
    for (packet, answer) in conversation {
        assert_eq!(ask(lottery, &mut connection, packet).await, *answer, "to {packet}");
    }
}

#[tokio::test]
async fn a_whole_conversation() {
    let lottery = Lottery::start(1, 2).await;
    let digests = [&[][..], &[ANA], &[ANA, LEO], &[ANA, LEO, EVA]].map(digest);
    let all = digest(&[ANA, LEO, EVA, ANA, LEO, EVA]);
    converse(
        &lottery,
        &[
            ("AgencyStatus:1", &format!("AgencyStatusResponse:0;{};open", digests[0])),
            (&format!("StoreBet:1;{ANA}"), "StoreResponse:0"),
            ("AgencyStatus:1", &format!("AgencyStatusResponse:1;{};open", digests[1])),
            (&format!("StoreBatch:1;{LEO}:{EVA}"), "StoreResponse:0"),
            ("AgencyStatus:1", &format!("AgencyStatusResponse:3;{};open", digests[3])),
            (&format!("StoreBatch:1:{ANA}"), "StoreResponse:0"),
            (&format!("StoreRows:1;5:{LEO}:{EVA}"), &format!("StoreRowsResponse:0;6;{all}")),
            // Stored already, in other batches: answered again, stored once.
            (&format!("StoreRows:1;4:{ANA}:{LEO}:{EVA}"), &format!("StoreRowsResponse:0;6;{all}")),
            ("AgencyClose:1;6", "AgencyCloseResponse:0"),
            ("AgencyClose:1;6", "AgencyCloseResponse:0"),
            ("AgencyStatus:1", &format!("AgencyStatusResponse:6;{all};closed")),
            (&format!("StoreBet:2;{LEO}"), "StoreResponse:0"),
            ("AgencyClose:2;1", "AgencyCloseResponse:0"),
            ("WinnersRequest:1", "WinnersResponse:1;3;1;3"),
            ("WinnersRequest:2", "WinnersResponse:"),
            ("AgencyStatus:1", &format!("AgencyStatusResponse:6;{all};drawn")),
            ("AgencyStatus:2", &format!("AgencyStatusResponse:1;{};drawn", digest(&[LEO]))),
        ],
    )
    .await;
    let quoted = "1,\"Eva, \"\"E\"\"\",Gómez,3,2000-02-29,7574\n";
    let three = format!("1,Ana,Paz,1,2000-01-01,7574\n1,Leo,Sol,2,2000-01-02,8\n{quoted}");
    assert_eq!(lottery.stored(), format!("{three}{three}2,Leo,Sol,2,2000-01-02,8\n"));
    lottery.end().await;
}

/// Asks every packet; every answer must start with these words.
async fn refuses(lottery: &Lottery, conversation: &[(&str, &str)]) {
    let mut connection = lottery.connect(0).await;
    for (packet, start) in conversation {
        let answer = ask(lottery, &mut connection, packet).await;
        assert!(answer.starts_with(start), "{answer:?} to {packet}");
    }
}

#[tokio::test]
async fn every_refusal() {
    let mut lottery = Lottery::start(1, 2).await;
    for reason in ["gap ", "overlap ", "closed ", "drawn "] {
        lottery.expect_alarm("server", "apuestas_almacenadas", &format!("error: {reason}"));
    }
    for reason in ["closed ", "drawn "] {
        lottery.expect_alarm("server", "apuesta_almacenada", &format!("error: {reason}"));
    }
    lottery.expect_alarm("server", "agencia_cerrada", "error: short ");
    let (none, one) = (digest(&[]), digest(&[ANA]));
    let two = digest(&[ANA, LEO]);
    refuses(
        &lottery,
        &[
            (&format!("StoreRows:1;2:{ANA}"), &format!("StoreRowsResponse:2;0;{none};gap ")),
            (&format!("StoreRows:1;1:{ANA}"), &format!("StoreRowsResponse:0;1;{one}")),
            (
                &format!("StoreRows:1;1:{ANA}:{LEO}"),
                &format!("StoreRowsResponse:2;1;{one};overlap "),
            ),
            (&format!("StoreRows:1;3:{LEO}"), &format!("StoreRowsResponse:2;1;{one};gap ")),
            (&format!("StoreRows:1;2:{LEO}"), &format!("StoreRowsResponse:0;2;{two}")),
            ("AgencyClose:1;1", "AgencyCloseResponse:2;short "),
            ("AgencyClose:1;3", "AgencyCloseResponse:2;short "),
            ("AgencyClose:1;2", "AgencyCloseResponse:0"),
            (&format!("StoreBet:1;{EVA}"), "StoreResponse:1"),
            (&format!("StoreBatch:1;{EVA}"), "StoreResponse:1"),
            (&format!("StoreBatch:1:{EVA}"), "StoreResponse:1"),
            (&format!("StoreRows:1;3:{EVA}"), &format!("StoreRowsResponse:2;2;{two};closed ")),
            // What is stored is stored, also after the close.
            (&format!("StoreRows:1;1:{ANA}"), &format!("StoreRowsResponse:0;2;{two}")),
            ("AgencyClose:2;0", "AgencyCloseResponse:0"),
            ("WinnersRequest:1", "WinnersResponse:1"),
            (&format!("StoreBet:2;{EVA}"), "StoreResponse:1"),
            (&format!("StoreRows:2;1:{EVA}"), &format!("StoreRowsResponse:2;0;{none};drawn ")),
            ("AgencyClose:2;0", "AgencyCloseResponse:0"),
        ],
    )
    .await;
    assert_eq!(lottery.stored(), "1,Ana,Paz,1,2000-01-01,7574\n1,Leo,Sol,2,2000-01-02,8\n");
    lottery.end().await;
}

/// Packets of known types that are malformed are logged as that, with these reasons.
fn expect_malformed(lottery: &mut Lottery, reasons: &[&str]) {
    for reason in reasons {
        lottery.expect_alarm("server", "packet", &format!("error: {reason}"));
    }
}

#[tokio::test]
async fn agencies_that_are_none_are_refused() {
    let mut lottery = Lottery::start(1, 2).await;
    expect_malformed(
        &mut lottery,
        &["agency 3 is not one of 1 to 2", "the agency is not a number from 1 to 100000"],
    );
    for agency in ["0", "3", "100001", "x", "", "-1", "1 "] {
        let rows = "StoreRowsResponse:2;0;0000000000000000;agency ";
        refuses(
            &lottery,
            &[
                (&format!("StoreBet:{agency};{ANA}"), "StoreResponse:1"),
                (&format!("StoreBatch:{agency};{ANA}"), "StoreResponse:1"),
                (&format!("StoreBatch:{agency}:{ANA}"), "StoreResponse:1"),
                (&format!("StoreRows:{agency};1:{ANA}"), rows),
                (&format!("AgencyStatus:{agency}"), "Error:agency "),
                (&format!("AgencyClose:{agency}"), "Error:agency "),
                (&format!("AgencyClose:{agency};0"), "AgencyCloseResponse:2;agency "),
                (&format!("WinnersRequest:{agency}"), "Error:agency "),
                ("AgencyStatus:1", "AgencyStatusResponse:0;0000000000000000;open"),
            ],
        )
        .await;
    }
    assert_eq!(lottery.stored(), "");
    assert!(!lottery.volume.draw().exists());
    lottery.end().await;
}

#[tokio::test]
async fn an_invalid_bet_refuses_its_whole_batch() {
    let mut lottery = Lottery::start(1, 1).await;
    expect_malformed(&mut lottery, &["bet 1: ", "bet 2: ", "bet 1 has 1 fields"]);
    refuses(
        &lottery,
        &[("StoreBatch:1:x", "StoreResponse:1"), ("StoreBatch:1;x", "StoreResponse:1")],
    )
    .await;
    let name = "a".repeat(101);
    let long_name = format!("{name};Paz;1;2000-01-01;7");
    for (bet, field) in [
        (";Paz;1;2000-01-01;7", "first name"),
        (&long_name, "first name"),
        ("Ana\u{7};Paz;1;2000-01-01;7", "first name"),
        ("Ana;Paz\r;1;2000-01-01;7", "last name"),
        ("Ana;Paz;;2000-01-01;7", "document"),
        ("Ana;Paz;1-2;2000-01-01;7", "document"),
        ("Ana;Paz;1;2001-02-29;7", "birthdate"),
        ("Ana;Paz;1;01/01/2000;7", "birthdate"),
        ("Ana;Paz;1;2000-01-01;10000", "number"),
        ("Ana;Paz;1;2000-01-01;-1", "number"),
        ("Ana;Paz;1;2000-01-01;7\r", "number"),
    ] {
        let named = format!("StoreRowsResponse:2;0;0000000000000000;invalid bet 2: {field} ");
        refuses(
            &lottery,
            &[
                (&format!("StoreRows:1;1:{ANA}:{bet}"), &named),
                (&format!("StoreBatch:1;{ANA}:{bet}"), "StoreResponse:1"),
                (&format!("StoreBatch:1:{ANA}:{bet}"), "StoreResponse:1"),
                (&format!("StoreBet:1;{bet}"), "StoreResponse:1"),
            ],
        )
        .await;
    }
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

#[tokio::test]
async fn what_is_no_packet_is_answered_and_the_connection_lives() {
    let lottery = Lottery::start(1, 1).await;
    for line in ["", "Hello", "GET / HTTP/1.1\r", ":", "storebet:1", "StoreResponse:0", "\u{0}"] {
        refuses(&lottery, &[(line, "Error:"), ("AgencyStatus:1", "AgencyStatusResponse:0;")]).await;
    }
    for packet in ["StoreBet", "StoreBatch", "StoreRows", "AgencyStatus"] {
        refuses(&lottery, &[(packet, "Error:"), ("AgencyStatus:1", "AgencyStatusResponse:0;")])
            .await;
    }
    lottery.end().await;
}

#[tokio::test]
async fn many_packets_in_one_segment_are_answered_in_order() {
    let lottery = Lottery::start(1, 1).await;
    let mut connection = lottery.connect(0).await;
    let packets = format!(
        "StoreBet:1;{ANA}\nHello\nStoreRows:1;2:{LEO}\nAgencyClose:1\nWinnersRequest:1\n\
         AgencyStatus:1\n"
    );
    connection.send(packets).await.unwrap();
    let both = digest(&[ANA, LEO]);
    for answer in [
        "StoreResponse:0",
        "Error:unknown packet",
        &format!("StoreRowsResponse:0;2;{both}"),
        "WinnersResponse:1",
        &format!("AgencyStatusResponse:2;{both};drawn"),
    ] {
        assert_eq!(connection.line().await.unwrap(), answer);
    }
    lottery.end().await;
}

#[tokio::test]
async fn one_packet_in_many_segments_is_one_packet() {
    let lottery = Lottery::start(1, 1).await;
    let mut connection = lottery.connect(0).await;
    for byte in format!("StoreBatch:1;{EVA}:{ANA}\n").bytes() {
        connection.send([byte]).await.unwrap();
    }
    assert_eq!(connection.line().await.unwrap(), "StoreResponse:0");
    let status = format!("AgencyStatusResponse:2;{};open", digest(&[EVA, ANA]));
    assert_eq!(connection.ask("AgencyStatus:1").await.unwrap(), status);
    lottery.end().await;
}

#[tokio::test]
async fn a_packet_may_be_64_kib_with_its_end_and_no_longer() {
    let mut lottery = Lottery::start(1, 1).await;
    expect_malformed(&mut lottery, &["the packet is longer than 65536 bytes"]);
    let mut packet = "StoreBatch:1".to_owned();
    while packet.len() + 1 + ANA.len() + 200 < 64 * 1024 {
        packet.push(':');
        packet.push_str(ANA);
    }
    // The last bet fills the packet up to 64 KiB with its `\n`, and then one byte beyond.
    let rest = 64 * 1024 - 1 - packet.len() - ":;Paz;1;2000-01-01;7".len();
    let filled = |bytes: usize| {
        let (first, last) = ("f".repeat(bytes.min(100)), "l".repeat(bytes - bytes.min(100)));
        format!("{packet}:{first};{last}Paz;1;2000-01-01;7")
    };
    assert_eq!(filled(rest).len() + 1, 64 * 1024);
    refuses(
        &lottery,
        &[
            (&filled(rest + 1), "StoreResponse:1"),
            ("AgencyStatus:1", "AgencyStatusResponse:0;"),
            (&filled(rest), "StoreResponse:0"),
        ],
    )
    .await;
    lottery.end().await;
}

#[tokio::test]
async fn an_over_long_line_is_discarded_and_answered() {
    let mut lottery = Lottery::start(1, 1).await;
    expect_malformed(&mut lottery, &["the packet is longer than 65536 bytes"]);
    let mut connection = lottery.connect(0).await;
    let long = "x".repeat(100_000);
    for (head, answer) in [
        ("StoreBatch:1;", "StoreResponse:1"),
        ("StoreRows:1;1:", "StoreRowsResponse:2;0;0000000000000000;invalid "),
        ("AgencyClose:1;", "AgencyCloseResponse:2;invalid "),
        ("WinnersRequest:", "Error:"),
        ("", "Error:"),
    ] {
        // The next packet comes right behind it: nothing of it may be discarded.
        connection.send(format!("{head}{long}\nStoreBet:1;{ANA}\n")).await.unwrap();
        let line = connection.line().await.unwrap();
        assert!(line.starts_with(answer), "{line:?} to {head}");
        assert_eq!(connection.line().await.unwrap(), "StoreResponse:0");
    }
    assert_eq!(lottery.stored().lines().count(), 5);
    lottery.end().await;
}

#[tokio::test]
async fn bytes_that_are_not_utf8_never_reach_the_file() {
    let mut lottery = Lottery::start(1, 1).await;
    expect_malformed(&mut lottery, &["the packet is not UTF-8"]);
    let mut connection = lottery.connect(0).await;
    for (packet, answer) in [
        (&b"StoreBet:1;Jos\xe9;Paz;1;2000-01-01;7\n"[..], "StoreResponse:1"),
        (b"StoreBatch:1;Ana;Paz;1;2000-01-01;7:Jos\xe9;Paz;1;2000-01-01;7\n", "StoreResponse:1"),
        (b"StoreRows:1;1:\xff\xfe\n", "StoreRowsResponse:2;0;0000000000000000;invalid "),
        (b"\xff\xfe\x00\n", "Error:"),
    ] {
        connection.send(packet).await.unwrap();
        let line = connection.line().await.unwrap();
        assert!(line.starts_with(answer), "{line:?}");
    }
    assert_eq!(connection.ask(&format!("StoreBet:1;{EVA}")).await.unwrap(), "StoreResponse:0");
    assert_eq!(lottery.stored().lines().count(), 1);
    lottery.end().await;
}

#[tokio::test]
async fn a_line_that_the_end_of_the_connection_cuts_is_no_packet() {
    let lottery = Lottery::start(1, 1).await;
    let mut connection = lottery.connect(0).await;
    connection.send(format!("StoreBet:1;{ANA}\nStoreBet:1;{LEO}")).await.unwrap();
    connection.finish().await.unwrap();
    assert_eq!(connection.end().await.unwrap(), b"StoreResponse:0\n");
    assert_eq!(lottery.stored(), "1,Ana,Paz,1,2000-01-01,7574\n");
    lottery.end().await;
}

#[tokio::test]
async fn a_connection_a_packet() {
    let lottery = Lottery::start(2, 1).await;
    for (place, packet, answer) in [
        (0, format!("StoreBet:1;{ANA}"), "StoreResponse:0".to_owned()),
        (1, format!("StoreBatch:1;{LEO}"), "StoreResponse:0".to_owned()),
        (0, format!("StoreRows:1;3:{EVA}"), {
            format!("StoreRowsResponse:0;3;{}", digest(&[ANA, LEO, EVA]))
        }),
        (1, "AgencyClose:1;3".to_owned(), "AgencyCloseResponse:0".to_owned()),
        (0, "WinnersRequest:1".to_owned(), "WinnersResponse:1;3".to_owned()),
    ] {
        assert_eq!(lottery.ask(place, &packet).await, answer, "to {packet}");
    }
    lottery.end().await;
}

/// The client of the reference opens a connection for every packet: the side that closes first
/// keeps the port for a minute.
#[tokio::test]
async fn a_batch_in_the_form_of_the_reference_is_the_last_packet_of_its_connection() {
    let mut lottery = Lottery::start(1, 1).await;
    expect_malformed(
        &mut lottery,
        &["bet 1 has 2 fields", "the packet is longer than 65536 bytes"],
    );
    let long = format!("StoreBatch:1:{}", "x".repeat(100_000));
    for (packet, answer) in [
        (format!("StoreBatch:1:{ANA}"), "StoreResponse:0\n"),
        ("StoreBatch:1:Ana;Paz".to_owned(), "StoreResponse:1\n"),
        (long, "StoreResponse:1\n"),
    ] {
        let mut connection = lottery.connect(0).await;
        connection.send(format!("{packet}\n")).await.unwrap();
        assert_eq!(connection.end().await.unwrap(), answer.as_bytes(), "to {packet:.100}");
        // Answers to what came before it are sent; what comes behind it is not executed.
        let mut connection = lottery.connect(0).await;
        connection.send(format!("Hello\n{packet}\nAgencyClose:1\n")).await.unwrap();
        let both = format!("Error:unknown packet\n{answer}");
        assert_eq!(connection.end().await.unwrap(), both.as_bytes(), "to {packet:.100}");
    }
    let status = format!("AgencyStatusResponse:2;{};open", digest(&[ANA, ANA]));
    assert_eq!(lottery.ask(0, "AgencyStatus:1").await, status);
    lottery.end().await;
}

#[tokio::test]
async fn who_has_said_all_is_still_answered() {
    let lottery = Lottery::start(1, 2).await;
    let mut asking = lottery.connect(0).await;
    asking.send(format!("StoreBet:1;{ANA}\nAgencyClose:1\nWinnersRequest:1\n")).await.unwrap();
    asking.finish().await.unwrap();
    assert_eq!(asking.line().await.unwrap(), "StoreResponse:0");
    assert_eq!(lottery.ask(0, "AgencyClose:2;0").await, "AgencyCloseResponse:0");
    assert_eq!(asking.end().await.unwrap(), b"WinnersResponse:1\n");
    lottery.end().await;
}
