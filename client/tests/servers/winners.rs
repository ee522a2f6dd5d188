//! Winners are those of the agency's own bets, or none are returned.

use std::time::Duration;

use crate::scripted::Failure;
use crate::support::{Agency, Lottery, bets, row, rows};
use protocol::AgencyState::{Closed, Open};

#[tokio::test]
async fn what_is_stored_is_checked_while_and_after_it_waits_for_the_draw() {
    let changed = vec![row(1), row(2), row(3), row(4), row(6)];
    for (what, stored, state, drawn, wanted) in [
        ("nothing is changed", rows(5), Closed, Some("1;2"), Ok("1;2")),
        ("archived after the draw", rows(1), Open, Some("1;5"), Ok("1;5")),
        (
            "archived before",
            Vec::new(),
            Open,
            None,
            Err("5 rows were stored for this agency and now 0"),
        ),
        ("lost", Vec::new(), Closed, Some(""), Err("5 rows were stored for this agency and now 0")),
        ("cut", rows(3), Closed, Some("1;2"), Err("5 rows were stored for this agency and now 3")),
        (
            "edited",
            changed,
            Closed,
            Some("1"),
            Err("the 5 rows that are stored for this agency are"),
        ),
        ("too many", rows(6), Closed, Some("6"), Err("6 rows are stored for this agency, and")),
    ] {
        for script in [&[][..], &[("WinnersRequest", Failure::CloseBehind)]] {
            let lottery = Lottery::default();
            let mut agency = Agency::new(&[lottery.serve(script).await]);
            agency.config.timeouts.winners = Duration::from_millis(10);
            let change = async {
                lottery.wait_for(1, "WinnersRequest").await;
                lottery.set(|volume| (volume.rows, volume.state) = (stored.clone(), state));
                if let Some(winners) = drawn {
                    lottery.draw(winners);
                }
            };
            let bets = bets(5);
            match (tokio::join!(agency.run(&bets), change).0, wanted) {
                (Ok(winners), Ok(wanted)) => {
                    assert_eq!(winners, wanted, "{what}");
                    assert_eq!(lottery.packets().last().unwrap(), "AgencyStatus:1", "{what}");
                }
                (Err(error), Err(wanted)) => {
                    assert!(error.starts_with(&format!("conflict: {wanted}")), "{what}: {error}");
                }
                (ended, _) => panic!("{what}: {ended:?}"),
            }
        }
    }
}

#[tokio::test]
async fn the_draw_is_waited_for_longer_than_any_timeout() {
    let lottery = Lottery::default();
    let mut agency = Agency::new(&[lottery.serve(&[]).await, lottery.serve(&[]).await]);
    agency.config.timeouts.winners = Duration::from_millis(10);
    agency.config.timeouts.give_up = Duration::from_millis(50);
    let draw = async {
        lottery.wait_for(20, "WinnersRequest").await;
        lottery.draw("4");
    };
    let bets = bets(5);
    assert_eq!(tokio::join!(agency.run(&bets), draw).0.unwrap(), "4");
}

#[tokio::test]
async fn winners_must_be_own_bets_and_win_as_often_as_they_are_stored() {
    for (is_legacy, winners, is_own) in
        [(false, "1;6", false), (true, "1;6", false), (true, "3;3", true)]
    {
        let lottery = Lottery::drawn(winners);
        let server = match is_legacy {
            true => lottery.serve_reference(&[]).await,
            false => lottery.serve(&[]).await,
        };
        match Agency::new(&[server]).run(&bets(5)).await {
            Ok(returned) => assert!(is_own && returned == winners),
            Err(error) => assert!(!is_own && error.contains("is not in agency-1.csv"), "{error}"),
        }
    }
}
