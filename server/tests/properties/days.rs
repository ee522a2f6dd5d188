//! Days: whatever packets come to two instances on one volume, in whatever order, each is answered
//! as a plain list of bets would answer it, and the files hold that list in the end.

use std::collections::BTreeSet;

use protocol::{
    AgencyId, AgencyState, Digest, Outcome, Refusal, Request, Response, WireBets, write_row,
};
use server::lottery::{Answer, Lottery};
use server::store::{AgencyRows, Store};

use super::instance::{AGENCIES, WINNING_NUMBER, with_stores};
use super::memory_disk::MemoryDisk;

/// A line that makes an instance look for the draw, as it does by itself now and then.
const LOOK: &[u8] = b"look";

/// The lines are executed one after the other by an instance, an empty one by none: the other
/// instance goes on. Winners are asked for only after the draw, which each instance finds by
/// looking: else the answer waits.
pub fn packets_are_answered_as_by_a_list(lines: &[u8]) {
    let (disk, mut list) = (MemoryDisk::default(), List::default());
    let played = with_stores(&disk, 2, async |stores| {
        let lotteries = [0, 1].map(|place| Lottery::new(stores[place].clone(), AGENCIES));
        let mut place = 0;
        for line in lines.split(|byte| *byte == b'\n') {
            match Request::parse(line) {
                _ if line.is_empty() => place = 1 - place,
                _ if line == LOOK => {
                    assert_eq!(stores[place].look().await, Ok(list.look()));
                }
                Ok(Request::WinnersRequest { .. }) if !list.is_drawn => {}
                Ok(request) => {
                    if matches!(request, Request::WinnersRequest { .. }) {
                        let looked = stores[place].look().await;
                        assert_eq!(looked, Ok(false), "there is one draw");
                    }
                    let before = list.bytes();
                    let wanted = list.execute(&request);
                    let answer = lotteries[place].execute(request).await;
                    let has_stored = list.bytes() > before;
                    assert_eq!(matches!(answer, Answer::Stored(_)), has_stored);
                    assert_eq!(without_reason(answer), wanted, "{:?}", str::from_utf8(line));
                }
                Err(_) => {}
            }
        }
    });
    played.expect("the volume is empty");
    assert_eq!(disk.content("bets.csv"), list.rows);
    assert_eq!(disk.content("agencies_closed.txt"), list.closes);
}

/// The words of a reason are for people, and that something was stored is looked at by itself.
fn without_reason(answer: Answer) -> Answer {
    let plain = |outcome| match outcome {
        Outcome::Refused(refusal, _) => Outcome::Refused(refusal, String::new()),
        other => other,
    };
    let response = match answer {
        Answer::HangUp => return Answer::HangUp,
        Answer::Stored(response) | Answer::Looked(response) => response,
    };
    Answer::Looked(response.map(|response| match response {
        Response::StoreRows { outcome, rows, digest } => {
            Response::StoreRows { outcome: plain(outcome), rows, digest }
        }
        Response::AgencyClose(outcome) => Response::AgencyClose(plain(outcome)),
        Response::Error(reason) => {
            Response::Error(reason.split(' ').next().unwrap_or_default().to_owned())
        }
        other => other,
    }))
}

/// The lottery, without files, groups, locks or instances.
#[derive(Default)]
struct List {
    rows: Vec<u8>,
    closes: Vec<u8>,
    agencies: [AgencyRows; AGENCIES as usize],
    winners: [Vec<String>; AGENCIES as usize],
    closed: BTreeSet<AgencyId>,
    is_drawn: bool,
}

impl List {
    fn look(&mut self) -> bool {
        let is_due = !self.is_drawn && self.closed.len() == AGENCIES as usize;
        self.is_drawn |= is_due;
        is_due
    }

    fn execute(&mut self, request: &Request<'_>) -> Answer {
        let agency = request.agency();
        if agency.get() > AGENCIES {
            let refused = request.packet_type().refuse(Refusal::Agency, "");
            return without_reason(Answer::Looked(Some(refused)));
        }
        let state = self.state(agency);
        let AgencyRows { rows, digest } = self.agencies[agency.index()];
        Answer::Looked(Some(match *request {
            Request::StoreBet { bet: bets, .. } | Request::StoreBatch { bets, .. } => {
                let stored = state == AgencyState::Open;
                if stored {
                    self.store(agency, bets);
                }
                Response::Store { stored }
            }
            Request::StoreRows { first_row, bets, .. } => {
                let outcome = self.store_rows(agency, first_row, bets);
                let AgencyRows { rows, digest } = self.agencies[agency.index()];
                Response::StoreRows { outcome, rows, digest }
            }
            Request::AgencyClose { rows: None, .. } => {
                self.close(agency);
                return Answer::Looked(None);
            }
            Request::AgencyClose { rows: Some(declared), .. } if declared != rows => {
                Response::AgencyClose(Outcome::Refused(Refusal::Short, String::new()))
            }
            Request::AgencyClose { .. } => {
                self.close(agency);
                Response::AgencyClose(Outcome::Done)
            }
            Request::AgencyStatus { .. } => Response::AgencyStatus { rows, digest, state },
            Request::WinnersRequest { .. } => {
                Response::Winners(self.winners[agency.index()].join(";").into())
            }
        }))
    }

    fn bytes(&self) -> usize {
        self.rows.len() + self.closes.len()
    }

    fn state(&self, agency: AgencyId) -> AgencyState {
        match (self.is_drawn, self.closed.contains(&agency)) {
            (true, _) => AgencyState::Drawn,
            (false, true) => AgencyState::Closed,
            (false, false) => AgencyState::Open,
        }
    }

    fn store_rows(&mut self, agency: AgencyId, first_row: u64, bets: WireBets<'_>) -> Outcome {
        let stored = self.agencies[agency.index()].rows;
        let is_stored = first_row.saturating_add(bets.len() as u64 - 1) <= stored;
        let refusal = match self.state(agency) {
            _ if is_stored => return Outcome::Done,
            AgencyState::Drawn => Refusal::Drawn,
            AgencyState::Closed => Refusal::Closed,
            AgencyState::Open if first_row <= stored => Refusal::Overlap,
            AgencyState::Open if first_row - stored > 1 => Refusal::Gap,
            AgencyState::Open => {
                self.store(agency, bets);
                return Outcome::Done;
            }
        };
        Outcome::Refused(refusal, String::new())
    }

    fn store(&mut self, agency: AgencyId, bets: WireBets<'_>) {
        for bet in bets.iter() {
            write_row(agency, &bet, &mut self.rows);
            let mut wire = Vec::new();
            bet.write_wire(&mut wire);
            let AgencyRows { rows, digest } = &mut self.agencies[agency.index()];
            (*rows, *digest) = (*rows + 1, Digest::fold(*digest, &wire));
            if bet.number().get() == WINNING_NUMBER {
                self.winners[agency.index()].push(bet.document().to_owned());
            }
        }
    }

    fn close(&mut self, agency: AgencyId) {
        if self.closed.insert(agency) {
            self.closes.extend(format!("{agency}\n").into_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BETS: &str = "(Ana|\"A, B\");Paz;[1-3];2000-01-01;0?[78](:Leo;Sol;1;2000-01-02;7){0,2}";

    fn packet() -> impl Strategy<Value = String> {
        let agency = "[1-4]";
        prop_oneof![
            (agency, 1..6_u8, BETS)
                .prop_map(|(a, row, bets)| format!("StoreRows:{a};{row}:{bets}")),
            (agency, "[:;]", BETS).prop_map(|(a, end, bets)| format!("StoreBatch:{a}{end}{bets}")),
            (agency, ";?[0-5]?").prop_map(|(a, rows)| format!("AgencyClose:{a}{rows}")),
            agency.prop_map(|agency| format!("AgencyStatus:{agency}")),
            agency.prop_map(|agency| format!("WinnersRequest:{agency}")),
            Just("look".to_owned()),
            Just(String::new()),
        ]
    }

    #[test]
    fn holds_for_a_day() {
        packets_are_answered_as_by_a_list(
            b"StoreRows:1;1:Ana;Paz;A1;2000-01-01;7:Leo;Sol;A2;2000-01-02;8\n\n\
              StoreRows:1;3:\"Eva, B\";Sol;A3;2000-01-02;0007\nAgencyClose:1;3\n\n\
              StoreRows:1;4:Ana;Paz;A4;2000-01-01;7\nStoreRows:1;2:Ana;Paz;A4;2000-01-01;7\n\
              AgencyClose:2\nAgencyClose:3;0\n\nlook\nlook\nWinnersRequest:1\n\nWinnersRequest:1\n\
              StoreBet:2;Ana;Paz;A1;2000-01-01;7\nAgencyStatus:1\nAgencyClose:4",
        );
    }

    proptest! {
        #[test]
        fn holds_for_near_days(packets in proptest::collection::vec(packet(), 0..30)) {
            packets_are_answered_as_by_a_list(packets.join("\n").as_bytes());
        }
    }
}
