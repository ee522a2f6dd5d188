//! Winners are those of the agency's own bets, or they are none.

use crate::scripted::{Behaviour, Failure};
use crate::support::{Agency, Lottery, Volume, bets, row, rows};
use client::session::SessionError;
use protocol::AgencyState;

/// An agency of five rows waits for the draw; what is stored is changed, and the draw held.
async fn changed_while_it_waits(
    change: impl FnOnce(&mut Volume),
    winners: &'static str,
    behaviour: Behaviour,
) -> Result<String, SessionError> {
    let lottery = Lottery::new();
    let agency = Agency::new(&[lottery.serve(behaviour).await]);
    let draw = async {
        while lottery.count("WinnersRequest") < 1 {
            tokio::task::yield_now().await;
        }
        lottery.set(change);
        lottery.draw(winners);
    };
    let bets = bets(5);
    let (ended, ()) = tokio::join!(agency.run(&bets), draw);
    ended
}

fn conflict(ended: Result<String, SessionError>) -> String {
    match ended {
        Err(SessionError::Conflict(what)) => what,
        other => panic!("no conflict: {other:?}"),
    }
}

fn closes_behind_winners() -> Behaviour {
    let script = vec![("WinnersRequest", Failure::CloseBehind)];
    Behaviour { script, ..Behaviour::default() }
}

#[tokio::test]
async fn a_draw_over_other_rows_is_a_conflict() {
    let replaced = || vec![row(1), row(2), row(3), row(4), row(6)];
    for (stored, winners, wanted) in [
        (Vec::new(), "", "5 rows were stored for this agency and now 0 are"),
        (rows(3), "1;2", "5 rows were stored for this agency and now 3 are"),
        (replaced(), "1", "the 5 rows that are stored for this agency are not the first 5 of"),
        (rows(6), "6", "6 rows are stored for this agency, and agency-1.csv has 5"),
    ] {
        for behaviour in [Behaviour::default(), closes_behind_winners()] {
            let stored = stored.clone();
            let change = |volume: &mut Volume| volume.rows = stored;
            let what = conflict(changed_while_it_waits(change, winners, behaviour).await);
            assert!(what.starts_with(wanted), "{what}");
        }
    }
}

#[tokio::test]
async fn a_day_that_is_archived_after_the_winners_were_sent_is_no_conflict() {
    let next = |volume: &mut Volume| (volume.rows, volume.state) = (rows(1), AgencyState::Open);
    let winners = changed_while_it_waits(next, "1;5", Behaviour::default()).await;
    assert_eq!(winners.unwrap(), "1;5");
}

#[tokio::test]
async fn winners_of_others_are_a_conflict() {
    for is_legacy in [false, true] {
        for winners in ["6", "1;6", "1;\u{1b}[2J"] {
            let lottery = Lottery::drawn(winners);
            let server = match is_legacy {
                true => lottery.serve_reference(&[]).await,
                false => lottery.serve(Behaviour::default()).await,
            };
            let agency = Agency::new(&[server]);
            let what = conflict(agency.run(&bets(5)).await);
            assert!(what.contains("is not in agency-1.csv"), "{what}");
            assert!(!what.contains(char::is_control), "{what}");
        }
    }
}

#[tokio::test]
async fn a_bet_that_a_legacy_server_stored_twice_wins_twice() {
    let lottery = Lottery::drawn("3;3");
    let agency = Agency::new(&[lottery.serve_reference(&[]).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3;3");
}

#[tokio::test]
async fn a_connection_that_breaks_behind_the_winners_is_made_anew() {
    let lottery = Lottery::drawn("1;2");
    let agency = Agency::new(&[lottery.serve(closes_behind_winners()).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "1;2");
    assert_eq!(lottery.packet_types().last().unwrap(), "AgencyStatus");
}
