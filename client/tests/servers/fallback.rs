//! The fallback: replays against legacy servers, which know the reference system's packets only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::reference;
use crate::scripted::{self, Behaviour, Failure};
use crate::support::{Agency, Lottery, bets, rows};
use client::limits::LEGACY_DETECTION_TIME;
use client::session::SessionError;
use protocol::AgencyState;
use tokio::net::TcpSocket;

#[tokio::test]
async fn bets_are_sent_by_store_batch() {
    let lottery = Lottery::drawn("3");
    let agency = Agency::new(&[lottery.serve_reference(&[]).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.state()), (rows(25), AgencyState::Closed));
    let batches: Vec<_> = lottery.packets();
    let batches = batches.iter().filter(|packet| packet.starts_with("StoreBatch:1:Ana;Paz;"));
    assert_eq!(batches.count(), 3);
    // Three for the detection, and one before each packet.
    assert_eq!((lottery.count("AgencyStatus"), lottery.count("StoreRows")), (3 + 4, 0));
}

#[tokio::test]
async fn a_server_that_answers_unknown_packet_is_a_legacy_server() {
    let lottery = Lottery::drawn("3");
    let unknown = ("AgencyStatus", Failure::Say("Error:unknown packet"));
    let agency = Agency::new(&[lottery.serve_reference(&vec![unknown; 3]).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("AgencyStatus")), (rows(5), 3));
}

#[tokio::test]
async fn a_batch_that_is_not_stored_is_sent_again() {
    let lottery = Lottery::drawn("3");
    let script = [
        ("StoreBatch", Failure::Say("StoreResponse:1")),
        ("StoreBatch", Failure::Close),
        ("WinnersRequest", Failure::Close),
    ];
    let agency = Agency::new(&[lottery.serve_reference(&script).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(5), 3));
}

#[tokio::test]
async fn a_lost_answer_stores_at_least_once() {
    let lottery = Lottery::drawn("3");
    let script = [("StoreBatch", Failure::CloseAfter)];
    let agency = Agency::new(&[lottery.serve_reference(&script).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!(lottery.rows(), [rows(5), rows(5)].concat());
}

/// Three servers in the order in which agency 1 knows them, of which the one at `place` is ours.
async fn one_of_ours(lottery: &Lottery, place: u8, behaviour: Behaviour) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for host in 0..3 {
        let ip = IpAddr::from([127, 0, 0, host + 1]);
        servers.push(if host == place {
            scripted::serve(ip, lottery.clone(), behaviour.clone()).await
        } else {
            reference::serve(ip, lottery.clone(), Vec::new()).await
        });
    }
    servers
}

#[tokio::test]
async fn one_current_server_among_legacy_servers_is_found() {
    for place in 0..3 {
        let lottery = Lottery::drawn("3");
        let agency = Agency::new(&one_of_ours(&lottery, place, Behaviour::default()).await);
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
        assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 0));
    }
}

#[tokio::test]
async fn a_current_server_that_comes_back_ends_the_fallback() {
    for place in 0..3 {
        let lottery = Lottery::drawn("3");
        let agency = Agency::new(&one_of_ours(&lottery, place, behind_a_proxy(4)).await);
        // So many batches that it is asked again before the last of them.
        assert_eq!(agency.run(&bets(500)).await.unwrap(), "3");
        assert_eq!(lottery.rows(), rows(500));
        assert!(lottery.count("StoreBatch") > 0);
        assert!(lottery.packets().contains(&"AgencyClose:1;500".to_owned()));
    }
}

#[tokio::test]
async fn a_legacy_server_that_is_down_does_not_prevent_the_fallback() {
    let lottery = Lottery::drawn("3");
    // Nobody listens there, and nobody else can.
    let down = TcpSocket::new_v4().unwrap();
    down.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let servers = [lottery.serve_reference(&[]).await, down.local_addr().unwrap()];
    let agency = Agency::new(&servers);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.state()), (rows(25), AgencyState::Closed));
}

/// Servers of ours behind something that takes connections and closes them while they are down:
/// on the first `closes` packets that ask what is stored.
fn behind_a_proxy(closes: usize) -> Behaviour {
    Behaviour { script: vec![("AgencyStatus", Failure::Close); closes], ..Behaviour::default() }
}

#[tokio::test]
async fn a_server_that_answers_after_all_ends_the_fallback() {
    for answer in [None, Some("Error:busy the volume is away")] {
        let lottery = Lottery::drawn("3");
        let mut behaviour = behind_a_proxy(4);
        behaviour.script.extend(answer.map(|answer| ("AgencyStatus", Failure::Say(answer))));
        let agency = Agency::new(&[lottery.serve(behaviour).await]);
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
        assert_eq!((lottery.rows(), lottery.state()), (rows(25), AgencyState::Closed));
        assert_eq!((lottery.count("StoreBatch"), lottery.count("StoreRows")), (1, 2));
        assert!(lottery.packets().contains(&"AgencyClose:1;25".to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_answers_before_the_close_is_sent_its_row_count() {
    let lottery = Lottery::drawn("3");
    let agency = Agency::new(&[lottery.serve(behind_a_proxy(6)).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 3));
    assert!(lottery.packets().contains(&"AgencyClose:1;25".to_owned()));
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_asked_for_before_it_is_sent_again() {
    let lottery = Lottery::drawn("3");
    let mut behaviour = behind_a_proxy(4);
    behaviour.script.push(("StoreBatch", Failure::CloseAfter));
    let agency = Agency::new(&[lottery.serve(behaviour).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 1));
}

#[tokio::test]
async fn a_second_run_behind_a_proxy_stores_nothing_twice() {
    let lottery = Lottery::drawn("3");
    lottery.set(|volume| volume.rows = rows(10));
    let agency = Agency::new(&[lottery.serve(behind_a_proxy(3)).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 0));
}

#[tokio::test]
async fn rows_that_the_fallback_stored_twice_are_found_by_their_digest() {
    let lottery = Lottery::drawn("3");
    lottery.set(|volume| volume.rows = rows(10));
    let agency = Agency::new(&[lottery.serve(behind_a_proxy(4)).await]);
    match agency.run(&bets(25)).await {
        Err(SessionError::Conflict(what)) => assert!(what.contains("CLI_FALLBACK"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_eq!((lottery.rows(), lottery.count("StoreRows")), ([rows(10), rows(10)].concat(), 0));
}

#[tokio::test]
async fn a_reset_between_the_closes_prevents_the_fallback() {
    let lottery = Lottery::drawn("3");
    let faults = [Failure::Close, Failure::Close, Failure::Reset, Failure::Close, Failure::Close];
    let script = faults.map(|fault| ("AgencyStatus", fault)).to_vec();
    let agency = Agency::new(&[lottery.serve(Behaviour { script, ..Behaviour::default() }).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 0));
}

#[tokio::test]
async fn servers_that_restart_at_once_are_not_legacy_servers() {
    let lottery = Lottery::drawn("3");
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(lottery.serve(behind_a_proxy(1)).await);
    }
    let mut agency = Agency::new(&servers);
    agency.config.timeouts.legacy_detection = LEGACY_DETECTION_TIME;
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 0));
}

#[tokio::test]
async fn closes_within_a_short_time_are_not_enough() {
    let lottery = Lottery::drawn("3");
    let mut agency = Agency::new(&[lottery.serve(behind_a_proxy(10_000)).await]);
    agency.config.timeouts.legacy_detection = LEGACY_DETECTION_TIME;
    agency.config.timeouts.give_up = Duration::from_secs(1);
    assert!(matches!(agency.run(&bets(5)).await, Err(SessionError::GaveUp(..))));
    assert!(lottery.count("AgencyStatus") > 3);
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (Vec::new(), 0));
}

#[tokio::test]
async fn without_the_fallback_it_gives_up_and_says_so() {
    for fault in [Failure::Close, Failure::Say("Error:unknown packet")] {
        let lottery = Lottery::drawn("3");
        let script = vec![("AgencyStatus", fault); 10_000];
        let mut agency = Agency::new(&[lottery.serve_reference(&script).await]);
        agency.config.is_fallback_allowed = false;
        agency.config.timeouts.give_up = Duration::from_millis(100);
        match agency.run(&bets(5)).await {
            Err(SessionError::GaveUp(_, failure)) => {
                assert!(failure.contains("CLI_FALLBACK"), "{failure}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (Vec::new(), 0));
    }
}

#[tokio::test]
async fn an_answer_1_that_lasts_names_what_else_may_be_wrong() {
    let lottery = Lottery::drawn("3");
    let script = vec![("StoreBatch", Failure::Say("StoreResponse:1")); 10_000];
    let mut agency = Agency::new(&[lottery.serve_reference(&script).await]);
    agency.config.timeouts.give_up = Duration::from_secs(1);
    match agency.run(&bets(5)).await {
        Err(SessionError::GaveUp(_, failure)) => {
            for cause in ["a bet", "CLI_ID", "has closed", "the draw", "form of StoreBatch"] {
                assert!(failure.contains(cause), "{cause:?} is not in {failure}");
            }
            assert!(!failure.contains("could not:"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert!(lottery.count("StoreBatch") > 3);
    assert_eq!(lottery.rows(), rows(0));
}
