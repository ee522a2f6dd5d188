//! The replay against servers that know `StoreRows`, whatever they do wrong.

use std::time::Duration;

use crate::scripted::Failure::{Close, CloseAfter, Hang, Say};
use crate::support::{Lottery, bets, config, row, rows, run};
use protocol::AgencyState;

#[tokio::test]
async fn a_day_is_status_rows_close_and_winners() {
    let lottery = Lottery::new(Some("1;2"));
    let config = config(&[lottery.serve(&[]).await]);
    assert_eq!(run(&config, bets(25)).await, "1;2 won");
    let volume = lottery.volume();
    assert_eq!(volume.rows, rows(25));
    let day: Vec<&str> =
        volume.packets.iter().map(|packet| packet.split(':').next().unwrap()).collect();
    let wanted = "AgencyStatus StoreRows StoreRows StoreRows AgencyClose AgencyStatus \
                  WinnersRequest AgencyStatus";
    assert_eq!(day.join(" "), wanted);
}

#[tokio::test]
async fn it_goes_on_after_the_last_stored_row_unless_there_is_a_conflict() {
    let (open, closed, drawn) = (AgencyState::Open, AgencyState::Closed, AgencyState::Drawn);
    for (stored, state, count, wanted, sent) in [
        (rows(7), open, 25, "1;2 won", 2),
        (rows(7), closed, 7, "1;2 won", 0),
        (rows(7), closed, 25, "conflict: 7 rows are stored of the agency, which is closed", 0),
        (rows(7), drawn, 25, "conflict: 7 rows are stored of the agency, which is drawn", 0),
        (vec![row(1), row(3)], open, 25, "conflict: the 2 rows that are stored", 0),
        (rows(26), open, 25, "conflict: 26 rows are stored", 0),
    ] {
        let lottery = Lottery::new(wanted.ends_with("won").then_some("1;2"));
        lottery.set(|volume| (volume.rows, volume.state) = (stored, state));
        let ended = run(&config(&[lottery.serve(&[]).await]), bets(count)).await;
        assert!(ended.starts_with(wanted), "{ended}");
        assert_eq!(lottery.volume().count("StoreRows"), sent, "{ended}");
    }
}

#[tokio::test]
async fn no_fault_stores_a_row_twice() {
    let endless: &'static str = "x".repeat(70_000).leak();
    for (start, fault) in [
        ("AgencyStatus", Close),
        ("AgencyStatus", Say("Error:busy the volume is away")),
        ("AgencyStatus", Say("AgencyStatusResponse:many")),
        ("StoreRows", Close),
        ("StoreRows", CloseAfter),
        ("StoreRows", Say("StoreRowsResponse:1;0;0000000000000000;locked")),
        ("StoreRows", Say("StoreRowsResponse:0;0;0000000000000000")),
        ("StoreRows", Say("StoreResponse:0")),
        ("StoreRows", Say("StoreRowsResponse:2;0;0000000000000000;overlap")),
        ("StoreRows", Say("StoreRowsResponse:2;0;0000000000000000;gap 7 rows")),
        ("StoreRows", Say(endless)),
        ("AgencyClose", Close),
        ("AgencyClose", CloseAfter),
        ("AgencyClose", Say("AgencyCloseResponse:1;locked")),
        ("AgencyClose", Say("Error:busy")),
        ("WinnersRequest", Close),
        ("WinnersRequest", CloseAfter),
        ("WinnersRequest", Say("Error:busy")),
    ] {
        // More than a server may do wrong before the client leaves it, and too few for a legacy
        // server.
        let count = if start == "AgencyStatus" { 2 } else { 4 };
        let lottery = Lottery::new(Some("1;2"));
        let config = config(&[lottery.serve(&vec![(start, fault); count]).await]);
        assert_eq!(run(&config, bets(25)).await, "1;2 won", "{start} {fault:?}");
        assert_eq!(lottery.volume().rows, rows(25), "{start} {fault:?}");
        assert_eq!(lottery.volume().state, AgencyState::Closed, "{start} {fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_for_another() {
    for start in ["AgencyStatus", "StoreRows", "AgencyClose", "WinnersRequest"] {
        let lottery = Lottery::new(Some("1;2"));
        let hanging = lottery.serve(&[(start, Hang); 3]).await;
        let mut config = config(&[hanging, lottery.serve(&[]).await]);
        config.timeouts.answer = Duration::from_millis(100);
        config.timeouts.winners = Duration::from_millis(100);
        assert_eq!(run(&config, bets(25)).await, "1;2 won", "{start}");
        assert_eq!(lottery.volume().rows, rows(25), "{start}");
    }
}

#[tokio::test]
async fn a_refusal_for_good_ends_it_and_so_does_an_answer_that_lasts() {
    let locked = "StoreRowsResponse:1;0;0000000000000000;locked";
    for (start, answer, wanted) in [
        ("AgencyStatus", "Error:agency agency 1 is unknown", "refused: agency 1 is unknown (is "),
        ("StoreRows", "StoreRowsResponse:2;0;0000000000000000;invalid b", "refused: invalid b"),
        ("AgencyClose", "AgencyCloseResponse:2;agency 1", "refused: agency 1 (is CLI_ID "),
        ("AgencyClose", "AgencyCloseResponse:2;short 24", "conflict: the close was refused: short"),
        ("WinnersRequest", "Error:agency agency 1 is late", "refused: agency 1 is late ("),
        ("StoreRows", locked, "no progress in 50ms"),
        ("StoreRows", locked, "the server could not: locked"),
    ] {
        let lottery = Lottery::new(Some("1;2"));
        let script = vec![(start, Say(answer)); 10_000];
        let mut config = config(&[lottery.serve(&script).await]);
        config.timeouts.give_up = Duration::from_millis(50);
        let error = run(&config, bets(25)).await;
        assert!(error.contains(wanted), "{error}");
    }
}
