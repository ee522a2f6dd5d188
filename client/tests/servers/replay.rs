//! The replay against servers that know `StoreRows`, whatever they do wrong.

use std::time::Duration;

use crate::scripted::{Behaviour, Failure};
use crate::support::{Agency, Lottery, bets, row, rows};
use client::session::SessionError;
use protocol::AgencyState;

fn script(script: &[(&'static str, Failure)]) -> Behaviour {
    Behaviour { script: script.to_vec(), ..Behaviour::default() }
}

async fn lottery_with(behaviour: Behaviour) -> (Lottery, Agency) {
    let lottery = Lottery::drawn("1;2");
    let address = lottery.serve(behaviour).await;
    (lottery, Agency::new(&[address]))
}

fn conflict(ended: Result<String, SessionError>) -> String {
    match ended {
        Err(SessionError::Conflict(what)) => what,
        other => panic!("no conflict: {other:?}"),
    }
}

#[tokio::test]
async fn a_day_is_status_rows_close_and_winners() {
    let (lottery, agency) = lottery_with(Behaviour::default()).await;
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "1;2");
    assert_eq!(lottery.rows(), rows(25));
    let wanted = [
        "AgencyStatus",
        "StoreRows",
        "StoreRows",
        "StoreRows",
        "AgencyClose",
        "AgencyStatus",
        "WinnersRequest",
        "AgencyStatus",
    ];
    assert_eq!(lottery.packet_types(), wanted);
}

#[tokio::test]
async fn a_second_run_stores_nothing_and_has_the_same_winners() {
    let (lottery, agency) = lottery_with(Behaviour::default()).await;
    let first = agency.run(&bets(25)).await.unwrap();
    assert_eq!(agency.run(&bets(25)).await.unwrap(), first);
    assert_eq!((lottery.rows(), lottery.count("StoreRows")), (rows(25), 3));
}

#[tokio::test]
async fn an_empty_file_closes_with_no_rows() {
    let (lottery, agency) = lottery_with(Behaviour::default()).await;
    lottery.draw("");
    assert_eq!(agency.run(&bets(0)).await.unwrap(), "");
    assert_eq!((lottery.state(), lottery.count("StoreRows")), (AgencyState::Closed, 0));
}

#[tokio::test]
async fn it_goes_on_after_the_last_stored_row() {
    let (lottery, agency) = lottery_with(Behaviour::default()).await;
    lottery.set(|volume| volume.rows = rows(7));
    agency.run(&bets(25)).await.unwrap();
    assert_eq!((lottery.rows(), lottery.count("StoreRows")), (rows(25), 2));
}

#[tokio::test]
async fn nothing_is_sent_for_an_edited_file() {
    let (lottery, agency) = lottery_with(Behaviour::default()).await;
    lottery.set(|volume| volume.rows = vec![row(1), row(3)]);
    let what = conflict(agency.run(&bets(25)).await);
    assert!(what.starts_with("the 2 rows that are stored"), "{what}");
    lottery.set(|volume| volume.rows = rows(26));
    let what = conflict(agency.run(&bets(25)).await);
    assert!(what.starts_with("26 rows are stored"), "{what}");
    assert_eq!(lottery.packet_types(), ["AgencyStatus", "AgencyStatus"]);
}

#[tokio::test]
async fn an_agency_that_closed_early_is_a_conflict() {
    for state in [AgencyState::Closed, AgencyState::Drawn] {
        let lottery = Lottery::new();
        let agency = Agency::new(&[lottery.serve(Behaviour::default()).await]);
        lottery.set(|volume| (volume.rows, volume.state) = (rows(7), state));
        let what = conflict(agency.run(&bets(25)).await);
        assert!(
            what.starts_with(&format!("7 rows are stored of the agency, which is {state}")),
            "{what}"
        );
        lottery.draw("1;2");
        assert_eq!(agency.run(&bets(7)).await.unwrap(), "1;2");
        assert_eq!(lottery.count("StoreRows"), 0);
    }
}

#[tokio::test]
async fn no_fault_stores_a_row_twice() {
    for (start, fault) in [
        ("AgencyStatus", Failure::Close),
        ("AgencyStatus", Failure::Say("Error:busy the volume is away")),
        ("AgencyStatus", Failure::Say("AgencyStatusResponse:many")),
        ("StoreRows", Failure::Close),
        ("StoreRows", Failure::CloseAfter),
        ("StoreRows", Failure::Say("StoreRowsResponse:1;0;0000000000000000;locked")),
        ("StoreRows", Failure::Say("StoreRowsResponse:0;0;0000000000000000")),
        ("StoreRows", Failure::Say("StoreResponse:0")),
        ("StoreRows", Failure::Say("StoreRowsResponse:2;0;0000000000000000;overlap")),
        ("StoreRows", Failure::Say("StoreRowsResponse:2;0;0000000000000000;gap 7 rows")),
        ("AgencyClose", Failure::Close),
        ("AgencyClose", Failure::CloseAfter),
        ("AgencyClose", Failure::Say("AgencyCloseResponse:1;locked")),
        ("AgencyClose", Failure::Say("Error:busy")),
        ("WinnersRequest", Failure::Close),
        ("WinnersRequest", Failure::CloseAfter),
        ("WinnersRequest", Failure::Say("Error:busy")),
    ] {
        // More than a server may do wrong before the client leaves it, and too few for a legacy
        // server.
        let faults: Vec<_> = (0..4).map(|_| (start, fault.clone())).collect();
        let count = if start == "AgencyStatus" { 2 } else { 4 };
        let (lottery, agency) = lottery_with(script(&faults[..count])).await;
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "1;2", "{start} {fault:?}");
        assert_eq!(lottery.rows(), rows(25), "{start} {fault:?}");
        assert_eq!(lottery.state(), AgencyState::Closed, "{start} {fault:?}");
    }
}

#[tokio::test]
async fn a_hung_server_is_left_for_another() {
    for start in ["AgencyStatus", "StoreRows", "AgencyClose", "WinnersRequest"] {
        let lottery = Lottery::drawn("1;2");
        let hangs = vec![(start, Failure::Hang); 3];
        let hung = lottery.serve(script(&hangs)).await;
        let sound = lottery.serve(Behaviour::default()).await;
        let mut agency = Agency::new(&[hung, sound]);
        agency.config.timeouts.answer = Duration::from_millis(100);
        agency.config.timeouts.winners = Duration::from_millis(100);
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "1;2", "{start}");
        assert_eq!(lottery.rows(), rows(25), "{start}");
    }
}

#[tokio::test]
async fn a_dead_server_is_left_for_another() {
    let lottery = Lottery::drawn("1;2");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let agency = Agency::new(&[dead, lottery.serve(Behaviour::default()).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "1;2");
}

#[tokio::test]
async fn a_refusal_for_good_ends_it() {
    for (start, answer, wanted) in [
        ("AgencyStatus", "Error:agency agency 1 is unknown", "agency 1 is unknown (is CLI_ID "),
        ("StoreRows", "StoreRowsResponse:2;0;0000000000000000;invalid bet 1", "invalid bet 1"),
        ("AgencyClose", "AgencyCloseResponse:2;agency 1", "agency 1 (is CLI_ID "),
        ("WinnersRequest", "Error:agency agency 1 took no part", "agency 1 took no part (is "),
    ] {
        let (_, agency) = lottery_with(script(&[(start, Failure::Say(answer))])).await;
        match agency.run(&bets(25)).await {
            Err(SessionError::Refused(reason)) => assert!(reason.starts_with(wanted), "{reason}"),
            other => panic!("{start}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_close_that_is_short_is_a_conflict() {
    let short = Failure::Say("AgencyCloseResponse:2;short 24 rows are stored");
    let (_, agency) = lottery_with(script(&[("AgencyClose", short)])).await;
    let what = conflict(agency.run(&bets(25)).await);
    assert!(what.contains("short 24 rows are stored"), "{what}");
}

#[tokio::test]
async fn answers_may_come_in_pieces() {
    let (lottery, agency) =
        lottery_with(Behaviour { in_pieces: true, ..Behaviour::default() }).await;
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "1;2");
    assert_eq!(lottery.rows(), rows(25));
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_kept() {
    let long: &'static str = "x".repeat(70_000).leak();
    let (lottery, agency) = lottery_with(script(&[("StoreRows", Failure::Say(long))])).await;
    agency.run(&bets(25)).await.unwrap();
    assert_eq!((lottery.rows(), lottery.count("StoreRows")), (rows(25), 4));
}

#[tokio::test]
async fn two_clients_of_one_agency_store_it_once() {
    let (lottery, first) = lottery_with(Behaviour::default()).await;
    let address = first.config.servers[0].parse().unwrap();
    let mut second = Agency::new(&[address]);
    second.config.limits.bets = 7;
    let bets = bets(200);
    let (one, two) = tokio::join!(first.run(&bets), second.run(&bets));
    assert_eq!((one.unwrap(), two.unwrap()), ("1;2".to_owned(), "1;2".to_owned()));
    assert_eq!(lottery.rows(), rows(200));
}

#[tokio::test]
async fn the_draw_is_waited_for_longer_than_any_patience() {
    let lottery = Lottery::new();
    let servers =
        [lottery.serve(Behaviour::default()).await, lottery.serve(Behaviour::default()).await];
    let mut agency = Agency::new(&servers);
    agency.config.timeouts.winners = Duration::from_millis(10);
    agency.config.timeouts.give_up = Duration::from_millis(50);
    let draw = async {
        while lottery.count("WinnersRequest") < 20 {
            tokio::task::yield_now().await;
        }
        lottery.draw("4");
    };
    let bets = bets(5);
    let (winners, ()) = tokio::join!(agency.run(&bets), draw);
    assert_eq!(winners.unwrap(), "4");
}

#[tokio::test]
async fn a_draw_archived_meanwhile_is_not_waited_for() {
    let lottery = Lottery::new();
    let mut agency = Agency::new(&[lottery.serve(Behaviour::default()).await]);
    agency.config.timeouts.winners = Duration::from_millis(10);
    let archive = async {
        while lottery.count("WinnersRequest") < 1 {
            tokio::task::yield_now().await;
        }
        lottery.set(|volume| (volume.rows, volume.state) = (Vec::new(), AgencyState::Open));
    };
    let bets = bets(5);
    let (ended, ()) = tokio::join!(agency.run(&bets), archive);
    assert!(conflict(ended).contains("archived"));
}

#[tokio::test]
async fn it_gives_up_where_nothing_goes_on() {
    let lottery = Lottery::new();
    let locked = Failure::Say("StoreRowsResponse:1;0;0000000000000000;locked");
    let server = lottery.serve(script(&vec![("StoreRows", locked); 10_000])).await;
    let mut agency = Agency::new(&[server]);
    agency.config.timeouts.give_up = Duration::from_millis(50);
    match agency.run(&bets(25)).await {
        Err(SessionError::GaveUp(_, failure)) => assert!(failure.contains("locked"), "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_for_the_draw() {
    let lottery = Lottery::new();
    let agency = Agency::new(&[lottery.serve(Behaviour::default()).await]);
    let stop = async {
        while lottery.count("WinnersRequest") < 1 {
            tokio::task::yield_now().await;
        }
        agency.shutdown.cancel();
    };
    let bets = bets(5);
    let (ended, ()) = tokio::join!(agency.run(&bets), stop);
    assert!(matches!(ended, Err(SessionError::Shutdown)), "{ended:?}");
}
