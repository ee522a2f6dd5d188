//! The fallback: replays against legacy servers, which know the reference system's packets only.

use std::time::Duration;

use crate::scripted::Failure::{Close, CloseAfter, Reset, Say};
use crate::support::{Lottery, bets, config, rows, run};
use client::limits::LEGACY_DETECTION_TIME;
use protocol::AgencyState;

#[tokio::test]
async fn a_legacy_server_stores_each_bet_at_least_once() {
    let unknown = ("AgencyStatus", Say("Error:unknown packet"));
    for (what, stored, script, batches, doubled) in [
        ("it does not know the packet", 0, vec![unknown; 5], 3, 0),
        ("a batch is not stored", 0, vec![("StoreBatch", Say("StoreResponse:1"))], 4, 0),
        ("a batch is lost", 0, vec![("StoreBatch", Close), ("WinnersRequest", Close)], 4, 0),
        ("an answer is lost", 0, vec![("StoreBatch", CloseAfter)], 4, 10),
        ("a client before it was killed in the middle", 10, vec![], 3, 0),
    ] {
        let lottery = Lottery::new(Some("3"));
        lottery.set(|volume| volume.rows = rows(stored));
        let mut config = config(&[lottery.serve_reference(&script).await]);
        config.timeouts.legacy_detection = Duration::from_millis(50);
        assert_eq!(run(&config, bets(25)).await, "3 won", "{what}");
        let volume = lottery.volume();
        assert_eq!(volume.rows, [rows(stored), rows(doubled), rows(25)].concat(), "{what}");
        assert_eq!((volume.count("StoreBatch"), volume.count("StoreRows")), (batches, 0), "{what}");
        assert_eq!(volume.state, AgencyState::Closed, "{what}");
    }
}

/// One of ours that closes connections for a time, as a proxy does while it is away, takes the rest
/// when it is back.
#[tokio::test]
async fn beside_a_server_of_ours_every_bet_is_stored_once() {
    for (closes, is_fallback) in [(0, false), (9, true)] {
        let lottery = Lottery::new(Some("3"));
        let ours = lottery.serve(&vec![("AgencyStatus", Close); closes]).await;
        let others = [lottery.serve_reference(&[]).await, lottery.serve_reference(&[]).await];
        let mut config = config(&[others[0], ours, others[1]]);
        config.limits.bets = 1;
        assert_eq!(run(&config, bets(60)).await, "3 won");
        let volume = lottery.volume();
        assert_eq!(volume.rows, rows(60));
        assert_eq!(volume.count("StoreBatch") > 0, is_fallback);
        assert!(volume.count("StoreRows") > 0 && volume.count("StoreBatch") < 60);
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
        let lottery = Lottery::new(Some("3"));
        lottery.set(|volume| volume.rows = rows(stored));
        let config = config(&[lottery.serve(&script).await]);
        assert_eq!(run(&config, bets(25)).await, "3 won", "{what}");
        let volume = lottery.volume();
        assert_eq!(volume.rows, rows(25), "{what}");
        let sent = (volume.count("StoreBatch"), volume.count("StoreRows"));
        assert_eq!(sent, (batches, others), "{what}");
        assert!(volume.packets.contains(&"AgencyClose:1;25".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn rows_that_the_fallback_stored_twice_are_found_by_their_digest() {
    let lottery = Lottery::new(Some("3"));
    lottery.set(|volume| volume.rows = rows(10));
    let config = config(&[lottery.serve(&[("AgencyStatus", Close); 4]).await]);
    let error = run(&config, bets(25)).await;
    assert!(error.starts_with("conflict: ") && error.contains("CLI_FALLBACK"), "{error}");
    let volume = lottery.volume();
    assert_eq!((&volume.rows, volume.count("StoreRows")), (&[rows(10), rows(10)].concat(), 0));
}

#[tokio::test]
async fn it_gives_up_if_the_fallback_is_forbidden_or_the_closes_are_within_a_short_time() {
    for (fault, is_allowed, millis, wanted) in [
        (Close, true, 1_000, "no progress in 1s"),
        (Close, false, 100, "set CLI_FALLBACK=yes"),
        (Say("Error:unknown packet"), false, 100, "set CLI_FALLBACK=yes"),
    ] {
        let lottery = Lottery::new(Some("3"));
        let script = vec![("AgencyStatus", fault); 10_000];
        let mut config = config(&[lottery.serve_reference(&script).await]);
        config.is_fallback_allowed = is_allowed;
        config.timeouts.legacy_detection = LEGACY_DETECTION_TIME;
        config.timeouts.give_up = Duration::from_millis(millis);
        let error = run(&config, bets(5)).await;
        assert!(error.contains(wanted), "{error}");
        let volume = lottery.volume();
        assert!(!is_allowed || volume.count("AgencyStatus") > 3);
        assert!(volume.rows.is_empty() && volume.count("StoreBatch") == 0);
    }
}
