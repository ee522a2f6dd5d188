//! Packets and answers byte by byte. Every malformed packet is in `crates/protocol`; how lines are
//! cut from bytes is shown in `server/tests/serving`, every sequence of valid packets by the property
//! `days` there.

use crate::common::{
    ANA, ANA_ROW, CLOSED, EVA, LEO, LEO_ROW, Lottery, assert_starts, rows_response, status,
    store_rows, stored,
};

#[tokio::test]
async fn late_and_wrong_rows_are_refused_on_every_instance() {
    let mut lottery = Lottery::start(2, 2).await;
    for reason in ["closed ", "drawn "] {
        let actions = ["apuestas_almacenadas", "apuesta_almacenada"];
        lottery.expect_alarms("server", &actions, &format!("error: {reason}"));
    }
    for reason in ["gap ", "overlap "] {
        lottery.expect_alarms("server", &["apuestas_almacenadas"], &format!("error: {reason}"));
    }
    lottery.expect_alarms("server", &["agencia_cerrada"], "error: short ");
    let late = |agency| {
        ["StoreBet:A;", "StoreBatch:A;", "StoreBatch:A:"]
            .map(|packet| (packet.replace('A', agency) + EVA, "StoreResponse:1".to_owned()))
    };
    let both = [ANA, LEO];
    let refused = |reason, bets: &[&str]| rows_response(2, bets, reason);
    let mut conversation = vec![
        (store_rows(1, 2, &[ANA]), refused("gap ", &[])),
        (store_rows(1, 1, &[ANA]), stored(&[ANA])),
        (store_rows(1, 1, &both), refused("overlap ", &[ANA])),
        (store_rows(1, 3, &[LEO]), refused("gap ", &[ANA])),
        (store_rows(1, 2, &[LEO]), stored(&both)),
        ("AgencyClose:1;1".to_owned(), "AgencyCloseResponse:2;short ".to_owned()),
        ("AgencyClose:1;3".to_owned(), "AgencyCloseResponse:2;short ".to_owned()),
        ("AgencyClose:1;2".to_owned(), CLOSED.to_owned()),
        (store_rows(1, 3, &[EVA]), refused("closed ", &both)),
        // What is stored is stored, also after the close.
        (store_rows(1, 1, &[ANA]), stored(&both)),
    ];
    conversation.extend(late("1"));
    conversation.extend([
        ("AgencyClose:2;0".to_owned(), CLOSED.to_owned()),
        ("WinnersRequest:1".to_owned(), "WinnersResponse:1".to_owned()),
        (store_rows(2, 1, &[EVA]), refused("drawn ", &[])),
        ("AgencyClose:2;0".to_owned(), CLOSED.to_owned()),
    ]);
    conversation.extend(late("2"));
    // What is answered once is answered by the other instance, too.
    for (packet, answer) in conversation {
        for place in 0..2 {
            assert_starts(&lottery.ask(place, &packet).await, &answer);
        }
    }
    assert_eq!(lottery.stored(), format!("{ANA_ROW}{LEO_ROW}"));
    lottery.end().await;
}

#[tokio::test]
async fn malformed_packets_are_answered_and_stored_nowhere() {
    let mut lottery = Lottery::start(1, 2).await;
    for reason in [
        "agency 3 is not one of 1 to 2",
        "the agency is not a number from 1 to 100000",
        "bet 1 has 1 fields",
        "bet 2: ",
        "the packet is longer than 65536 bytes",
        "the packet is not UTF-8",
    ] {
        lottery.expect_alarms("server", &["packet"], &format!("error: {reason}"));
    }
    const ROWS: &str = "StoreRowsResponse:2;0;0000000000000000;";
    let long = "x".repeat(100_000);
    let invalid_bet = format!("{ROWS}invalid bet 2: birthdate ");
    let mut cases: Vec<(Vec<u8>, String)> = Vec::new();
    for (packet, answer) in [
        (&b"StoreBatch:1;x"[..], "StoreResponse:1"),
        (store_rows(1, 1, &[ANA, "Ana;Paz;1;2001-02-29;7"]).as_bytes(), &*invalid_bet),
        (format!("StoreBatch:1;{ANA}:Ana;Paz;1;2001-02-29;7").as_bytes(), "StoreResponse:1"),
        (format!("StoreRows:1;1:{long}").as_bytes(), &format!("{ROWS}invalid ")),
        (format!("AgencyClose:1;{long}").as_bytes(), "AgencyCloseResponse:2;invalid "),
        (format!("WinnersRequest:{long}").as_bytes(), "Error:"),
        (b"StoreBet:1;Jos\xe9;Paz;1;2000-01-01;7", "StoreResponse:1"),
        (b"\xff\xfe\x00", "Error:"),
        (b"", "Error:"),
        (b"GET / HTTP/1.1\r", "Error:"),
        (b"StoreResponse:0", "Error:"),
    ] {
        cases.push((packet.to_vec(), answer.to_owned()));
    }
    // One that is not of this lottery, and one that is no agency.
    for agency in ["3", "0"] {
        for (packet, answer) in [
            (format!("StoreBet:{agency};{ANA}"), "StoreResponse:1"),
            (format!("StoreBatch:{agency};{ANA}"), "StoreResponse:1"),
            (format!("StoreRows:{agency};1:{ANA}"), &format!("{ROWS}agency ")),
            (format!("AgencyStatus:{agency}"), "Error:agency "),
            (format!("AgencyClose:{agency}"), "Error:agency "),
            (format!("AgencyClose:{agency};0"), "AgencyCloseResponse:2;agency "),
            (format!("WinnersRequest:{agency}"), "Error:agency "),
        ] {
            cases.push((packet.into(), answer.to_owned()));
        }
    }
    let nothing = status(&[], "open");
    for (packet, answer) in cases {
        let mut connection = lottery.connect(0).await;
        // The next packet comes right behind it, and is answered as if it were alone.
        connection.send([packet, b"\nAgencyStatus:1\n".to_vec()].concat()).await.unwrap();
        assert_starts(&connection.line().await.unwrap(), &answer);
        assert_eq!(connection.line().await.unwrap(), nothing);
    }
    assert_eq!(lottery.stored(), "");
    assert!(!lottery.volume.draw().exists());
    lottery.end().await;
}

/// The reference's client opens a connection for every packet. The side that closes first
/// keeps the port for a minute.
#[tokio::test]
async fn a_batch_in_the_form_of_the_reference_is_the_last_packet_of_its_connection() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarms("server", &["packet"], "error: bet 1 has 2 fields");
    lottery.expect_alarms("server", &["packet"], "error: the packet is longer than 65536 bytes");
    let long = format!("StoreBatch:1:{}", "x".repeat(100_000));
    for (packet, answer) in [
        (format!("StoreBatch:1:{ANA}"), "StoreResponse:0\n"),
        ("StoreBatch:1:Ana;Paz".to_owned(), "StoreResponse:1\n"),
        (long, "StoreResponse:1\n"),
    ] {
        // Answers to what came before it are sent; what comes behind it is not executed.
        for (before, answer_before) in [("", ""), ("Hello\n", "Error:unknown packet\n")] {
            let mut connection = lottery.connect(0).await;
            connection.send(format!("{before}{packet}\nAgencyClose:1\n")).await.unwrap();
            let both = format!("{answer_before}{answer}");
            assert_eq!(connection.end().await.unwrap(), both.as_bytes(), "to {packet:.100}");
        }
    }
    lottery.assert_status(1, &[ANA, ANA], "open").await;
    lottery.end().await;
}
