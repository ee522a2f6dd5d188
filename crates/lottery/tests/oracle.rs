//! The rules beside their second statement, the oracle's: whatever lines come, in whatever groups,
//! both decide the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use lottery::{BatchHead, Decision, Plan, State};
use oracle::model::{Agencies, Effect};
use proptest::prelude::*;
use protocol::{AgencyId, Request, Response, RowReader, WireBets};

const AGENCIES: u32 = 3;

/// A group is of batches or of closes. An empty line ends it, and `draw` holds the draw if it is
/// due.
fn play(lines: &[String]) {
    let (mut oracle, mut state) = (Agencies::new(AGENCIES, 7), State::new(AGENCIES));
    for group in lines.chunk_by(|a, b| a.get(..5) == b.get(..5)) {
        if group.iter().any(|line| line == "draw") {
            if oracle.draw() {
                assert!(state.is_complete());
                state.set_drawn(true);
            }
        } else if group.iter().all(|line| !line.is_empty()) {
            let mut plan = state.plan();
            let is_stored = |line: &&String| decide_both(line, &mut plan, &mut oracle);
            let stored: Vec<_> = group.iter().filter(is_stored).collect();
            stored.into_iter().for_each(|line| apply(&mut state, line));
        }
        is_like(&state, &mut oracle);
    }
}

/// Whether the packet is to be stored.
fn decide_both(line: &str, plan: &mut Plan<'_>, oracle: &mut Agencies) -> bool {
    let request = Request::parse(line.as_bytes()).unwrap();
    let agency = request.agency();
    let mut decide = |first_row, bets: &WireBets<'_>| {
        plan.decide(&BatchHead { agency, first_row, rows: bets.len() as u64 })
    };
    let decision = match &request {
        Request::StoreRows { first_row, bets, .. } => decide(Some(*first_row), bets),
        Request::StoreBatch { bets, .. } => decide(None, bets),
        Request::AgencyClose { rows, .. } => plan.decide_close(agency, *rows),
        _ => unreachable!("no other packet is made"),
    };
    let wanted = oracle.take(line.as_bytes());
    let head = oracle.head(agency.get());
    let answer = match (&request, &decision) {
        (Request::StoreRows { .. }, Decision::Refuse(refusal, reason)) => {
            format!("StoreRowsResponse:2;{head};{refusal} {reason}")
        }
        (Request::StoreRows { .. }, _) => format!("StoreRowsResponse:0;{head}"),
        (Request::AgencyClose { .. }, Decision::Refuse(refusal, reason)) => {
            format!("AgencyCloseResponse:2;{refusal} {reason}")
        }
        (Request::AgencyClose { .. }, _) => "AgencyCloseResponse:0".to_owned(),
        (_, decision) => {
            format!("StoreResponse:{}", u8::from(matches!(decision, Decision::Refuse(..))))
        }
    };
    match wanted {
        Effect::Answers(wanted) => assert!(wanted.fits(&answer), "{line}: {answer}, {wanted:?}"),
        effect => assert_eq!((effect, answer.as_str()), (Effect::Silent, "AgencyCloseResponse:0")),
    }
    decision == Decision::Store
}

/// Applies what was stored: bets from the packet, and from the rows that it becomes, which is the
/// same.
fn apply(state: &mut State, line: &str) {
    let (agency, bets) = match Request::parse(line.as_bytes()).unwrap() {
        Request::StoreRows { agency, bets, .. } | Request::StoreBatch { agency, bets, .. } => {
            (agency, bets)
        }
        close => return state.close(close.agency()),
    };
    let (mut rows, mut reader, mut read) = (Vec::new(), RowReader::default(), state.clone());
    bets.write_rows(agency, &mut rows);
    for line in rows.split_inclusive(|byte| *byte == b'\n') {
        let (_, row) = reader.read_first(line);
        let row = row.unwrap();
        read.apply_row(AgencyId::new(row.agency).unwrap(), row.wire);
    }
    state.apply(agency, &bets);
    assert_eq!(*state, read);
}

fn is_like(state: &State, oracle: &mut Agencies) {
    for agency in AgencyId::all(AGENCIES) {
        let status = state.status(agency);
        let lottery::AgencyRows { rows, digest } = status.stored;
        let mut answer = Vec::new();
        Response::AgencyStatus { rows, digest, state: status.state }.write(&mut answer);
        let answer = str::from_utf8(answer.trim_ascii_end()).unwrap();
        let wanted = oracle.take(format!("AgencyStatus:{agency}").as_bytes());
        assert!(matches!(&wanted, Effect::Answers(it) if it.fits(answer)), "{answer}, {wanted:?}");
    }
    let bets = oracle.heads().map(|(_, head)| head.rows).sum();
    assert_eq!((state.closed(), state.bets()), (oracle.closed(), bets));
}

fn line() -> impl Strategy<Value = String> {
    let bets = "(Ana|\"A, B\");Paz;[1-3];2000-01-01;0?[78](:Leo;Sol;1;2000-01-02;7){0,2}";
    prop_oneof![
        4 => ("[1-3]", 1..8_u8, bets).prop_map(|(a, row, bets)| format!("StoreRows:{a};{row}:{bets}")),
        2 => ("[1-3]", bets).prop_map(|(a, bets)| format!("StoreBatch:{a};{bets}")),
        3 => "AgencyClose:[1-3](;[0-6])?",
        3 => Just(String::new()),
        2 => Just("draw".to_owned()),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_both_decide_the_same(lines in proptest::collection::vec(line(), 0..60)) {
        play(&lines);
    }
}
