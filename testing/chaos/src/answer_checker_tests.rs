//! The checker finds every wrong answer, and none in a right lottery.

use super::answer_checker::AnswerChecker;
use super::registry::ServerRegistry;
use crate::report::Report;
use oracle::expected::AgencyExpected;

/// What is found in a conversation, where batches are seen or all have so many rows.
fn violations_in(conversation: &[(&str, &str)], batch: Option<u64>) -> Vec<String> {
    let digests = ["d0", "d1", "d2", "d3", "d4"].map(str::to_owned).to_vec();
    let report = Report::default();
    let expected = vec![AgencyExpected { digests, winners: "7;8".to_owned() }];
    let checker = AnswerChecker::new(expected, batch, ServerRegistry::default(), report.clone());
    for (packet, answer) in conversation {
        checker.answered(&checker.asked(0, packet.as_bytes()), answer.as_bytes());
    }
    report.take_violations()
}

const STATUS: &str = "AgencyStatus:1\n";
const ROWS: &str = "StoreRows:1;1:a:b:c\n";
const ALL: (&str, &str) = ("StoreRows:1;1:a:b:c:d\n", "StoreRowsResponse:0;4;d4\n");
const CLOSE: (&str, &str) = ("AgencyClose:1;4\n", "AgencyCloseResponse:0\n");

#[test]
fn a_correct_lottery_has_no_violation() {
    let lottery = [
        (STATUS, "AgencyStatusResponse:0;d0;open\n"),
        ("StoreRows:1;1:a:b\n", "StoreRowsResponse:1;0;d0;full\n"),
        ("StoreRows:1;1:a:b\n", "StoreRowsResponse:0;2;d2\n"),
        ("StoreRows:1;4:d\n", "StoreRowsResponse:2;2;d2;gap row 3 is next\n"),
        ("StoreRows:1;2:b:c\n", "StoreRowsResponse:2;2;d2;overlap 2 rows are stored\n"),
        ("StoreRows:1;3:c:d\n", "StoreRowsResponse:0;4;d4\n"),
        ("StoreRows:1;1:a:b\n", "StoreRowsResponse:0;4;d4\n"),
        CLOSE,
        (STATUS, "AgencyStatusResponse:4;d4;closed\n"),
        ("WinnersRequest:1\n", "WinnersResponse:7;8\n"),
    ];
    assert_eq!(violations_in(&lottery, None), [""; 0]);
    // At the end winners are asked for first: a state that was open before is not one any more.
    let last = [ALL, CLOSE, ("WinnersRequest:1\n", "WinnersResponse:7;8\n")];
    for (state, is_right) in [("drawn", true), ("closed", false), ("open", false)] {
        let answer = format!("AgencyStatusResponse:4;d4;{state}\n");
        let lottery: Vec<_> = last.into_iter().chain([(STATUS, answer.as_str())]).collect();
        assert_eq!(violations_in(&lottery, None).is_empty(), is_right, "{state}");
    }
}

#[test]
fn every_wrong_answer_is_found() {
    for (lottery, wanted) in [
        (&[(STATUS, "AgencyStatusResponse:0;d1;open\n")][..], "the digest is not d0"),
        (&[(STATUS, "AgencyStatusResponse:1;d1;open\n")], "no batch that can be stored"),
        (&[(ROWS, "StoreRowsResponse:0;2;d2\n")], "row 3 is not there"),
        (
            &[(ROWS, "StoreRowsResponse:1;0;d0;r"), (STATUS, "AgencyStatusResponse:3;d3;open\n")],
            "no batch that can be stored",
        ),
        (
            &[(ROWS, "StoreRowsResponse:0;3;d3\n"), (STATUS, "AgencyStatusResponse:0;d0;open\n")],
            "3 rows had been acknowledged",
        ),
        (&[ALL, CLOSE, (STATUS, "AgencyStatusResponse:4;d4;open\n")], "it had closed"),
        (&[("AgencyClose:1;3\n", "AgencyCloseResponse:0\n")], "closed without all"),
        (&[(STATUS, "AgencyStatusResponse:0;d0;drawn\n")], "not all of its rows"),
        (&[ALL, (STATUS, "AgencyStatusResponse:4;d4;drawn\n")], "not asked for its close"),
        (&[ALL, ("WinnersRequest:1\n", "WinnersResponse:7;8\n")], "not asked for its close"),
        (&[ALL, CLOSE, ("WinnersRequest:1\n", "WinnersResponse:7\n")], "the winners are 7;8"),
        (&[ALL, CLOSE, ("WinnersRequest:2\n", "WinnersResponse:7;8\n")], "does not take part"),
        (&[(ROWS, "StoreRowsResponse:2;0;d0;gap row 1 is next\n")], "cannot be refused so"),
        (&[(ROWS, "StoreRowsResponse:2;0;d0;overlap\n")], "cannot be refused so"),
        (&[(ROWS, "StoreRowsResponse:2;0;d0;closed\n")], "cannot be refused so"),
        (&[(ROWS, "StoreRowsResponse:2;0;d0;invalid bet 1\n")], "cannot be refused so"),
        (&[(ROWS, "StoreRowsResponse:2;0;d0\n")], "cannot be refused so"),
        (&[ALL, (ROWS, "StoreRowsResponse:2;4;d4;drawn\n")], "cannot be refused so"),
        (&[ALL, (STATUS, "AgencyStatusResponse:4;d4;closed\n")], "its close was not asked for"),
        (&[ALL, (STATUS, "AgencyStatusResponse:4;d4;shut\n")], "no state"),
        (&[ALL, ("AgencyClose:1;3\n", "AgencyCloseResponse:0\n")], "closed without all"),
        (&[ALL, CLOSE, ("AgencyClose:1;4\n", "AgencyCloseResponse:2;short\n")], "no answer"),
        (&[("WinnersRequest:1\n", "Error:unknown\n")], "no answer that it should get"),
        (&[("AgencyClose:1\n", "Error:busy\n")], "for legacy servers"),
    ] {
        let found = violations_in(lottery, None);
        assert!(found.iter().any(|one| one.contains(wanted)), "{lottery:?} {found:?}");
    }
}

#[test]
fn where_no_packet_is_seen_all_batches_have_one_size() {
    let [some, all] = ["2;d2;open", "4;d4;drawn"].map(|is| format!("AgencyStatusResponse:{is}\n"));
    for (batch, answers, wanted) in [
        (2, vec!["AgencyStatusResponse:0;d0;open\n", &some, &all, &all], ""),
        (3, vec!["AgencyStatusResponse:3;d3;open\n", "AgencyStatusResponse:4;d4;closed\n"], ""),
        (3, vec![&some], "no batch that can be stored"),
        (2, vec![&some, "AgencyStatusResponse:0;d0;open\n"], "2 rows had been acknowledged"),
        (2, vec!["AgencyStatusResponse:2;d2;closed\n"], "not all of its rows"),
        (2, vec![&all, "AgencyStatusResponse:4;d4;closed\n"], "the draw had been held"),
    ] {
        let conversation: Vec<_> = answers.iter().map(|answer| (STATUS, *answer)).collect();
        let found = violations_in(&conversation, Some(batch)).concat();
        assert!(found.contains(wanted) && found.is_empty() == wanted.is_empty(), "{found}");
    }
}
