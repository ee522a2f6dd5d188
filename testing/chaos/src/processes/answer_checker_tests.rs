//! That the checker finds every lie, and none in a right lottery.

use super::answer_checker::AnswerChecker;
use super::registry::ServerRegistry;
use crate::common::tally::Findings;
use oracle::expected::AgencyExpected;

fn checker() -> (AnswerChecker, Findings) {
    let digests = ["d0", "d1", "d2", "d3", "d4"].map(str::to_owned).to_vec();
    let findings = Findings::default();
    let expected = AgencyExpected { digests, winners: "7;8".to_owned() };
    (AnswerChecker::new(vec![expected], ServerRegistry::default(), findings.clone()), findings)
}

fn findings_of(conversation: &[(&str, &str)]) -> Vec<String> {
    let (checker, findings) = checker();
    for (packet, answer) in conversation {
        checker.answered(&checker.asked(0, packet.as_bytes()), answer.as_bytes());
    }
    findings.all()
}

const STATUS: &str = "AgencyStatus:1\n";
const ROWS: &str = "StoreRows:1;1:a:b:c\n";
const ALL: (&str, &str) = ("StoreRows:1;1:a:b:c:d\n", "StoreRowsResponse:0;4;d4\n");
const CLOSE: (&str, &str) = ("AgencyClose:1;4\n", "AgencyCloseResponse:0\n");

#[test]
fn a_right_day_is_right() {
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
    assert_eq!(findings_of(&lottery), [""; 0]);
}

#[test]
fn every_lie_is_found() {
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
        (&[(STATUS, "AgencyStatusResponse:0;d0;drawn\n")], "it has 4 rows"),
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
        (&[ALL, (STATUS, "AgencyStatusResponse:4;d4;closed\n")], "nobody had asked"),
        (&[ALL, (STATUS, "AgencyStatusResponse:4;d4;shut\n")], "no state"),
        (&[ALL, ("AgencyClose:1;3\n", "AgencyCloseResponse:0\n")], "closed without all"),
        (&[ALL, CLOSE, ("AgencyClose:1;4\n", "AgencyCloseResponse:2;short\n")], "no answer"),
        (&[("WinnersRequest:1\n", "Error:unknown\n")], "no answer that it should get"),
        (&[("AgencyClose:1\n", "Error:busy\n")], "for old ones"),
    ] {
        let findings = findings_of(lottery);
        assert!(
            findings.iter().any(|finding| finding.contains(wanted)),
            "{lottery:?} {findings:?}"
        );
    }
}
