//! Winners are those of the agency's own bets, or none are returned.

use std::time::Duration;

use crate::scripted::{self, Failure};
use crate::support::{Lottery, bets, config, row, rows, run};
use protocol::AgencyState::{Closed, Open};

#[tokio::test]
async fn what_is_stored_is_checked_while_and_after_it_waits_for_the_draw() {
    let changed = vec![row(1), row(2), row(3), row(4), row(6)];
    for (what, stored, state, drawn, wanted) in [
        ("nothing is changed", rows(5), Closed, Some("1;2"), "1;2 won"),
        ("archived after the draw", rows(1), Open, Some("1;5"), "1;5 won"),
        ("archived before", rows(0), Open, None, "conflict: 5 rows were stored … and now 0 are"),
        ("lost", rows(0), Closed, Some(""), "conflict: 5 rows were stored … and now 0 are"),
        ("cut", rows(3), Closed, Some("1;2"), "conflict: 5 rows were stored … and now 3 are"),
        ("edited", changed, Closed, Some("1"), "conflict: the 5 rows that are stored … are not"),
        ("too many", rows(6), Closed, Some("6"), "conflict: 6 rows are stored …, and"),
    ] {
        for script in [&[][..], &[("WinnersRequest", Failure::CloseBehind)]] {
            let lottery = Lottery::new(None);
            let mut config = config(&[lottery.serve(script).await]);
            config.timeouts.winners = Duration::from_millis(10);
            let change = async {
                lottery.wait_for(1, "WinnersRequest").await;
                lottery.set(|volume| {
                    (volume.rows, volume.state, volume.winners) = (stored.clone(), state, drawn);
                });
            };
            let ended = tokio::join!(run(&config, bets(5)), change).0;
            let wanted = wanted.replace('…', "for this agency");
            assert!(ended.starts_with(&wanted), "{what}: {ended}");
            let is_asked_last = lottery.volume().packets.last().unwrap() == "AgencyStatus:1";
            assert!(is_asked_last || !ended.ends_with("won"), "{what}");
        }
    }
}

#[tokio::test]
async fn the_draw_is_waited_for_longer_than_any_timeout() {
    let lottery = Lottery::new(None);
    let mut config = config(&[lottery.serve(&[]).await, lottery.serve(&[]).await]);
    config.timeouts.winners = Duration::from_millis(10);
    config.timeouts.give_up = Duration::from_millis(50);
    let draw = async {
        lottery.wait_for(20, "WinnersRequest").await;
        lottery.set(|volume| volume.winners = Some("4"));
    };
    assert_eq!(tokio::join!(run(&config, bets(5)), draw).0, "4 won");
}

#[tokio::test]
async fn winners_must_be_own_bets_and_win_as_often_as_they_are_stored() {
    for (is_legacy, winners, wanted) in [
        (false, "1;6", "conflict: the winner's document \"6\" is not in agency-1.csv"),
        (true, "1;6", "conflict: the winner's document \"6\" is not in agency-1.csv"),
        (false, "Paz", "conflict: the winner's document \"Paz\" is not in agency-1.csv"),
        (false, "1;\u{1b}[2J", "conflict: the winner's document \"\\u{1b}[2J\" is not in"),
        (true, "3;3", "3;3 won"),
    ] {
        let server = scripted::serve(Lottery::new(Some(winners)), is_legacy, Vec::new()).await;
        let ended = run(&config(&[server]), bets(5)).await;
        assert!(ended.starts_with(wanted), "{ended}");
    }
}
