//! Days: whatever packets come to two instances on one volume, in whatever order, each is answered
//! as the oracle would answer it, and the files hold what the oracle knows in the end.

use std::collections::BTreeSet;

use csv::ReaderBuilder;
use oracle::head::Head;
use oracle::model::{Agencies, Effect};
use protocol::Request;
use server::lottery::{Answer, Lottery};
use server::store::Store;

use super::instance::{AGENCIES, WINNING_NUMBER, with_stores};
use super::memory_disk::MemoryDisk;

/// A line that makes an instance look for the draw, as it does by itself now and then.
const LOOK: &[u8] = b"look";

/// The lines are executed one after the other by an instance, an empty one by none: the other
/// instance goes on. Winners are asked for only after the draw, which each instance finds by
/// looking: else the answer waits.
pub fn packets_are_answered_as_by_the_oracle(lines: &[u8]) {
    let mut oracle = Agencies::new(AGENCIES, u64::from(WINNING_NUMBER));
    let disk = MemoryDisk::default();
    let played = with_stores(&disk, 2, async |stores| {
        let lotteries = [0, 1].map(|place| Lottery::new(stores[place].clone(), AGENCIES));
        let mut place = 0;
        for line in lines.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                place = 1 - place;
            } else if line == LOOK {
                assert_eq!(stores[place].look().await, Ok(oracle.draw()));
            } else if let Ok(request) = Request::parse(line) {
                let before = stored(&oracle);
                let wanted = oracle.take(line);
                if wanted == Effect::Waits {
                    continue;
                }
                let is_known = request.agency().get() <= AGENCIES;
                if is_known && matches!(request, Request::WinnersRequest { .. }) {
                    assert_eq!(stores[place].look().await, Ok(false), "there is one draw");
                }
                let answer = lotteries[place].execute(request).await;
                let is_stored = stored(&oracle) > before;
                assert_eq!(matches!(answer, Answer::Stored(_)), is_stored);
                check(answer, &wanted);
            }
        }
    });
    played.expect("the volume is empty");
    check_files(&disk, &oracle);
}

/// How many rows and closes.
fn stored(oracle: &Agencies) -> (u64, usize) {
    (oracle.heads().map(|(_, head)| head.rows).sum(), oracle.closed())
}

fn check(answer: Answer, wanted: &Effect) {
    let response = match answer {
        Answer::HangUp => panic!("nothing breaks in memory"),
        Answer::Stored(response) | Answer::Looked(response) => response,
    };
    let mut line = Vec::new();
    response.iter().for_each(|response| response.write(&mut line));
    let line = str::from_utf8(&line).expect("answers are text");
    match wanted {
        Effect::Answers(wanted) => {
            let answer = line.strip_suffix('\n').expect("an answer is a line");
            assert!(wanted.fits(answer), "{answer:?}, not {wanted:?}");
        }
        Effect::Silent | Effect::Waits => assert_eq!(line, ""),
    }
}

fn check_files(disk: &MemoryDisk, oracle: &Agencies) {
    let mut heads = [Head::default(); AGENCIES as usize];
    let rows = disk.content("bets.csv");
    for row in ReaderBuilder::new().has_headers(false).from_reader(rows.as_slice()).records() {
        let row: Vec<String> = row.expect("rows are CSV").iter().map(str::to_owned).collect();
        heads[row[0].parse::<usize>().expect("an agency") - 1].push(&row[1..]);
    }
    assert_eq!(heads, [1, 2, 3].map(|agency| oracle.head(agency)));
    let closes = disk.content("agencies_closed.txt");
    let lines: Vec<_> = str::from_utf8(&closes).expect("closes are text").lines().collect();
    let different: BTreeSet<_> = lines.iter().collect();
    assert_eq!((lines.len(), different.len()), (oracle.closed(), oracle.closed()));
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
        packets_are_answered_as_by_the_oracle(
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
            packets_are_answered_as_by_the_oracle(packets.join("\n").as_bytes());
        }
    }
}
