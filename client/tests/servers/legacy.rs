//! The replay against servers that know nothing but the reference system's packets.

use crate::support::{Agency, Lottery, Make, Misdeed, bets, rows};
use protocol::AgencyState;

fn old(script: &[(&'static str, Misdeed)]) -> Make {
    Make { script: script.to_vec(), is_old: true, ..Make::default() }
}

#[tokio::test]
async fn bets_go_by_store_batch() {
    let lottery = Lottery::drawn("3");
    let agency = Agency::new(&[lottery.serve(old(&[])).await]);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.state()), (rows(25), AgencyState::Closed));
    assert_eq!(lottery.count("StoreBatch"), 3);
    assert_eq!((lottery.count("AgencyStatus"), lottery.count("StoreRows")), (3, 0));
}

#[tokio::test]
async fn servers_that_call_it_an_error_are_old_too() {
    let lottery = Lottery::drawn("3");
    let unknown = ("AgencyStatus", Misdeed::Say("Error:unknown packet"));
    let agency = Agency::new(&[lottery.serve(old(&[unknown.clone(), unknown])).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!(lottery.rows(), rows(5));
}

#[tokio::test]
async fn what_is_not_stored_is_sent_again() {
    let lottery = Lottery::drawn("3");
    let script = [
        ("StoreBatch", Misdeed::Say("StoreResponse:1")),
        ("StoreBatch", Misdeed::Close),
        ("WinnersRequest", Misdeed::Close),
    ];
    let agency = Agency::new(&[lottery.serve(old(&script)).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(5), 3));
}

#[tokio::test]
async fn a_lost_answer_stores_at_least_once() {
    let lottery = Lottery::drawn("3");
    let agency = Agency::new(&[lottery.serve(old(&[("StoreBatch", Misdeed::CloseAfter)])).await]);
    assert_eq!(agency.run(&bets(5)).await.unwrap(), "3");
    assert_eq!(lottery.rows(), [rows(5), rows(5)].concat());
}

#[tokio::test]
async fn one_new_server_among_old_ones_is_found() {
    let lottery = Lottery::drawn("3");
    let mut servers = Vec::new();
    for is_old in [true, true, false] {
        servers.push(lottery.serve(Make { is_old, ..Make::default() }).await);
    }
    let agency = Agency::new(&servers);
    assert_eq!(agency.run(&bets(25)).await.unwrap(), "3");
    assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (rows(25), 0));
}
