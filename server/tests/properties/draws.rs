//! The draw: whatever stands in `draw.json` is a draw that can be told, or is refused; and
//! whatever stands in `bets.csv`, its winners are those of its rows one by one.

use lottery::Winners;
use protocol::{AgencyId, BetNumber, RowReader};
use server::store::file::OpenError;
use server::store::{Draw, DrawRecord, Store as _};

use super::instance::{AGENCIES, WINNING_NUMBER, with_store};
use super::memory_disk::MemoryDisk;

/// An instance starts on a `draw.json` with these bytes exactly if they are the record of a draw
/// of this lottery; then every agency's winners are one answer.
pub fn a_record_is_told_or_refused(json: &[u8]) {
    let disk = MemoryDisk::default();
    disk.append("draw.json", json);
    let opened = with_store(&disk, async |store| store.draw().borrow().clone());
    let record = serde_json::from_slice::<DrawRecord>(json).ok();
    match record.and_then(|record| Some((Draw::try_from(record.clone()).ok()?, record))) {
        None => assert!(matches!(opened, Err(OpenError::Unusable(..))), "{opened:?}"),
        Some((draw, record)) if is_ours(&draw) => {
            is_one_answer_each(&draw);
            let printed = serde_json::to_vec_pretty(&record).expect("a record can be printed");
            assert_eq!(serde_json::from_slice::<DrawRecord>(&printed).ok(), Some(record));
            assert_eq!(opened.expect("it is this lottery's").as_deref(), Some(&draw));
        }
        Some(_) => {
            let error = opened.expect_err("it is another lottery's");
            assert!(matches!(error, OpenError::Contradiction { .. }), "{error:?}");
            assert!(error.to_string().contains("server archive"), "{error} names the way out");
        }
    }
}

fn is_ours(draw: &Draw) -> bool {
    draw.agencies_amount == AGENCIES && draw.number.get() == WINNING_NUMBER
}

fn is_one_answer_each(draw: &Draw) {
    for agency in AgencyId::all(AGENCIES) {
        let winners = draw.winners(agency).expect("it took part");
        assert!(!winners.contains('\n'), "an answer is one line");
    }
}

/// The winners of `lines`, taken in two parts, are the rows with the winning number, in their
/// order. No field has a `;` in it, which separates fields on the wire.
pub fn winners_are_those_of_every_row(lines: &[u8], cut: usize, number: u16) {
    let Some(number) = BetNumber::new(number % 10_000) else { return };
    let lines: Vec<u8> = lines.iter().map(|b| if *b == b';' { b' ' } else { *b }).collect();
    let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = &lines[..end];
    let ends: Vec<usize> = (0..=end).filter(|at| *at == 0 || lines[at - 1] == b'\n').collect();
    let (first, rest) = lines.split_at(ends[cut % ends.len()]);
    let mut winners = Winners::new(number, AGENCIES);
    winners.take(first);
    winners.take(rest);
    assert_eq!(winners.into_documents(), one_by_one(lines, number));
}

fn one_by_one(lines: &[u8], number: BetNumber) -> Vec<Vec<String>> {
    let mut reader = RowReader::default();
    let mut documents = vec![Vec::new(); AGENCIES as usize];
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(row) = reader.read(line) else { continue };
        if (1..=AGENCIES).contains(&row.agency) && row.number() == Some(number) {
            documents[row.agency as usize - 1].push(row.document().to_owned());
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DRAW: &str = r#"{"winning_number": 7, "agencies_amount": 3, "bets": 1, "time": "now",
        "instance": "here", "agencies": [
        {"agency": 1, "rows": 1, "digest": "00000000000000ff", "winners": ["A1", "A2"]},
        {"agency": 2, "rows": 0, "digest": "0000000000000000", "winners": []},
        {"agency": 3, "rows": 0, "digest": "0000000000000000", "winners": []}]}"#;
    const NEAR_ROW: &str =
        "\"?[0-4]\"?,(Ana|\"A, 7\"|\"),7?,(A1|7|\"7\"),2000-01-01,\"?0{0,3}7?[07]?7\"?\r?\n";
    /// As our servers write rows, so that winners are found without reading the other rows.
    const OUR_ROW: &str = "[1-4],A,7,[0-9]{1,3},2000-01-01,0?[1-9]?[07]{1,3}\n";

    #[test]
    fn a_record_holds_for_every_form() {
        a_record_is_told_or_refused(DRAW.as_bytes());
        for (part, other) in [
            ("A1", "A;1"),
            ("A1", "A\\n1"),
            ("\"agency\": 2", "\"agency\": 3"),
            ("\"agencies_amount\": 3", "\"agencies_amount\": 4294967295"),
            ("7", "10000"),
            ("7", "8"),
            ("\"bets\": 1", "\"bets\": -1"),
            ("}]}", "}]"),
        ] {
            a_record_is_told_or_refused(DRAW.replacen(part, other, 1).as_bytes());
        }
    }

    #[test]
    fn winners_hold_for_every_end_of_a_line() {
        for end in ["\n", "\r\n", "\r\r\n", "\"\r\r\r\n", " \n"] {
            let lines = format!("1,A,B,1,2000-01-01,7{end}2,A,B,2,2000-01-01,\"07\"{end}");
            (0..3).for_each(|cut| winners_are_those_of_every_row(lines.as_bytes(), cut, 7));
        }
    }

    proptest! {
        #[test]
        fn a_record_holds_for_near_records(
            at in 0..DRAW.len(), length in 0..4_usize, other in "[\"\\[\\]{},:0-9a-z]{0,3}",
        ) {
            let mut json = DRAW.to_owned();
            json.replace_range(at..DRAW.len().min(at + length), &other);
            a_record_is_told_or_refused(json.as_bytes());
        }

        #[test]
        fn winners_hold_for_near_rows(
            lines in prop_oneof![
                proptest::collection::vec(NEAR_ROW, 0..10),
                proptest::collection::vec(OUR_ROW, 0..60),
            ],
            cut in 0..9_usize,
            number in prop_oneof![Just(0), Just(7), Just(70), Just(77), Just(707)],
        ) {
            winners_are_those_of_every_row(lines.concat().as_bytes(), cut, number);
        }

        #[test]
        fn winners_hold_for_any_bytes(
            lines in proptest::collection::vec(any::<u8>(), 0..100), cut in 0..9_usize,
            number in 0..10_u16,
        ) {
            winners_are_those_of_every_row(&lines, cut, number);
        }
    }
}
