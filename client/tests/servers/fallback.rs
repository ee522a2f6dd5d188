//! The fallback: replays against legacy servers, which know the reference system's packets only.

use std::time::Duration;

use crate::scripted::Failure::{Close, CloseAfter, Reset, Say};
use crate::support::{Agency, Lottery, bets, rows};
use client::limits::LEGACY_DETECTION_TIME;
use protocol::AgencyState;

#[tokio::test]
async fn a_legacy_server_stores_each_bet_at_least_once() {
    let unknown = ("AgencyStatus", Say("Error:unknown packet"));
    for (what, script, batches, doubled) in [
        ("it does not know the packet", vec![unknown; 5], 3, 0),
        ("a batch is not stored", vec![("StoreBatch", Say("StoreResponse:1"))], 4, 0),
        ("a batch is lost", vec![("StoreBatch", Close), ("WinnersRequest", Close)], 4, 0),
        ("an answer is lost", vec![("StoreBatch", CloseAfter)], 4, 10),
    ] {
        let lottery = Lottery::drawn("3");
        let agency = Agency::new(&[lottery.serve_reference(&script).await]);
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "3", "{what}");
        assert_eq!(lottery.rows(), [rows(doubled), rows(25)].concat(), "{what}");
        assert_eq!(
            (lottery.count("StoreBatch"), lottery.count("StoreRows")),
            (batches, 0),
            "{what}"
        );
        assert_eq!(lottery.state(), AgencyState::Closed, "{what}");
    }
}

/// A proxy takes the connections of a server of ours that is down, and closes them.
#[tokio::test]
async fn a_server_that_answers_ends_the_fallback_and_stores_the_rest_once() {
    let closes = |count| vec![("AgencyStatus", Close); count];
    let busy = ("AgencyStatus", Say("Error:busy the volume is away"));
    let reset = [Close, Close, Reset, Close, Close].map(|fault| ("AgencyStatus", fault));
    for (what, stored, script, batches, others) in [
        ("after a batch", 0, closes(4), 1, 2),
        ("after a batch, that it is busy", 0, [closes(4), vec![busy]].concat(), 1, 2),
        ("before the close", 0, closes(6), 3, 0),
        ("after a lost answer", 0, [closes(4), vec![("StoreBatch", CloseAfter)]].concat(), 1, 2),
        ("before the first batch, of a second run", 10, closes(3), 0, 2),
        ("soon enough, because a reset is no evidence", 0, reset.to_vec(), 0, 3),
    ] {
        let lottery = Lottery::drawn("3");
        lottery.set(|volume| volume.rows = rows(stored));
        let agency = Agency::new(&[lottery.serve(&script).await]);
        assert_eq!(agency.run(&bets(25)).await.unwrap(), "3", "{what}");
        assert_eq!(lottery.rows(), rows(25), "{what}");
        let sent = (lottery.count("StoreBatch"), lottery.count("StoreRows"));
        assert_eq!(sent, (batches, others), "{what}");
        assert!(lottery.packets().contains(&"AgencyClose:1;25".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn rows_that_the_fallback_stored_twice_are_found_by_their_digest() {
    let lottery = Lottery::drawn("3");
    lottery.set(|volume| volume.rows = rows(10));
    let agency = Agency::new(&[lottery.serve(&vec![("AgencyStatus", Close); 4]).await]);
    let error = agency.run(&bets(25)).await.unwrap_err();
    assert!(error.starts_with("conflict: ") && error.contains("CLI_FALLBACK"), "{error}");
    assert_eq!((lottery.rows(), lottery.count("StoreRows")), ([rows(10), rows(10)].concat(), 0));
}

#[tokio::test]
async fn it_gives_up_if_the_fallback_is_forbidden_or_the_closes_are_within_a_short_time() {
    for (fault, is_allowed, millis, wanted) in [
        (Close, true, 1_000, "no progress in 1s"),
        (Close, false, 100, "set CLI_FALLBACK=yes"),
        (Say("Error:unknown packet"), false, 100, "set CLI_FALLBACK=yes"),
    ] {
        let lottery = Lottery::drawn("3");
        let script = vec![("AgencyStatus", fault); 10_000];
        let mut agency = Agency::new(&[lottery.serve_reference(&script).await]);
        agency.config.is_fallback_allowed = is_allowed;
        agency.config.timeouts.legacy_detection = LEGACY_DETECTION_TIME;
        agency.config.timeouts.give_up = Duration::from_millis(millis);
        let error = agency.run(&bets(5)).await.unwrap_err();
        assert!(error.contains(wanted), "{error}");
        assert!(!is_allowed || lottery.count("AgencyStatus") > 3);
        assert_eq!((lottery.rows(), lottery.count("StoreBatch")), (Vec::new(), 0));
    }
}
