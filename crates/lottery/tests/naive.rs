//! The rules once more, as a plain list of what was stored that is counted again for every
//! question: whatever comes in whatever groups, both decide the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::mem::discriminant;

use lottery::{AgencyRows, BatchHead, Decision, State};
use proptest::prelude::*;
use protocol::{AgencyId, AgencyState, Digest, Refusal, RowReader, WireBets};

const AGENCIES: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// The agency, the first row and the bets.
    Batch(AgencyId, Option<u64>, String),
    /// The agency and the declared rows.
    Close(AgencyId, Option<u64>),
    /// What was decided is applied: the next step begins another group.
    Apply,
    Draw,
}

/// Everything that was stored, in its order.
#[derive(Default)]
struct List {
    rows: Vec<(AgencyId, String)>,
    closes: Vec<AgencyId>,
    is_drawn: bool,
}

impl List {
    fn rows_of(&self, agency: AgencyId) -> Vec<&str> {
        self.rows.iter().filter(|row| row.0 == agency).map(|row| row.1.as_str()).collect()
    }

    fn batch(&mut self, agency: AgencyId, first_row: Option<u64>, bets: &str) -> Option<Refusal> {
        let stored = self.rows_of(agency).len() as u64;
        let bets: Vec<_> = bets.split(':').map(str::to_owned).collect();
        let first = first_row.unwrap_or(stored + 1);
        match first + bets.len() as u64 - 1 {
            last if last <= stored => return None,
            _ if self.is_drawn => return Some(Refusal::Drawn),
            _ if self.closes.contains(&agency) => return Some(Refusal::Closed),
            _ if first <= stored => return Some(Refusal::Overlap),
            _ if first > stored + 1 => return Some(Refusal::Gap),
            _ => {}
        }
        let plain = |bet: &str| {
            let (rest, number) = bet.rsplit_once(';').unwrap();
            format!("{rest};{}", number.parse::<u16>().unwrap())
        };
        self.rows.extend(bets.iter().map(|bet| (agency, plain(bet))));
        None
    }

    fn close(&mut self, agency: AgencyId, declared: Option<u64>) -> Option<Refusal> {
        let stored = self.rows_of(agency).len() as u64;
        if declared.is_some_and(|declared| declared != stored) {
            return Some(Refusal::Short);
        }
        self.closes.push(agency);
        None
    }

    fn is_like(&self, state: &State) {
        for agency in AgencyId::all(AGENCIES) {
            let rows = self.rows_of(agency);
            let digest = rows.iter().fold(Digest::default(), |d, row| d.fold(row.as_bytes()));
            let stored = AgencyRows { rows: rows.len() as u64, digest };
            let wanted = match (self.is_drawn, self.closes.contains(&agency)) {
                (true, _) => AgencyState::Drawn,
                (false, true) => AgencyState::Closed,
                (false, false) => AgencyState::Open,
            };
            let status = state.status(agency);
            assert_eq!((status.stored, status.state), (stored, wanted));
        }
        let all_closed = AgencyId::all(AGENCIES).all(|agency| self.closes.contains(&agency));
        assert_eq!((state.is_complete(), state.bets()), (all_closed, self.rows.len() as u64));
    }
}

/// A group is of batches or of closes; what is decided otherwise begins another one.
fn play(steps: &[Step]) {
    let (mut list, mut state) = (List::default(), State::new(AGENCIES));
    for group in steps.split_inclusive(|step| matches!(step, Step::Apply | Step::Draw)) {
        for of_kind in group.chunk_by(|a, b| discriminant(a) == discriminant(b)) {
            let mut plan = state.plan();
            let decide = |step: &Step| match step {
                Step::Batch(agency, first_row, bets) => {
                    let rows = bets.split(':').count() as u64;
                    let head = BatchHead { agency: *agency, first_row: *first_row, rows };
                    same(plan.decide(&head), list.batch(*agency, *first_row, bets))
                }
                Step::Close(agency, declared) => {
                    let decision = plan.decide_close(*agency, *declared);
                    same(decision, list.close(*agency, *declared))
                }
                Step::Apply | Step::Draw => false,
            };
            let stored: Vec<bool> = of_kind.iter().map(decide).collect();
            for (step, _) in of_kind.iter().zip(stored).filter(|(_, is_stored)| *is_stored) {
                match step {
                    Step::Batch(agency, _, bets) => apply(&mut state, *agency, bets),
                    Step::Close(agency, _) => state.close(*agency),
                    Step::Apply | Step::Draw => {}
                }
            }
        }
        if matches!(group.last(), Some(Step::Draw)) {
            (list.is_drawn, _) = (true, state.set_drawn(true));
        }
        list.is_like(&state);
    }
}

fn same(decision: Decision, refusal: Option<Refusal>) -> bool {
    let is_stored = decision == Decision::Store;
    let refused = if let Decision::Refuse(refusal, _) = decision { Some(refusal) } else { None };
    assert_eq!(refused, refusal);
    is_stored
}

/// From the packet, and from the rows that it becomes: both are the same.
fn apply(state: &mut State, agency: AgencyId, bets: &str) {
    let bets = WireBets::parse(bets).unwrap();
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

fn step() -> impl Strategy<Value = Step> {
    let agency = || (1..=AGENCIES).prop_map(|number| AgencyId::new(number).unwrap());
    let row = || proptest::option::of(1..8_u64);
    let bets = "(Ana|\"A, B\");Paz;[1-3];2000-01-01;0?[78](:Leo;Sol;1;2000-01-02;7){0,2}";
    prop_oneof![
        6 => (agency(), row(), bets)
            .prop_map(|(agency, first_row, bets)| Step::Batch(agency, first_row, bets)),
        2 => (agency(), row()).prop_map(|(agency, declared)| Step::Close(agency, declared)),
        3 => Just(Step::Apply),
        1 => Just(Step::Draw),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_both_decide_the_same(steps in proptest::collection::vec(step(), 0..60)) {
        play(&steps);
    }
}
