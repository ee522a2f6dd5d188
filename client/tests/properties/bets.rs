//! Properties of the file of bets: any file is bets that can be sent, or an error names its bad
//! lines.

use std::io::BufReader;

use client::bets::{BatchLimits, Bets, ReadError};
use client::limits::{BAD_LINES_SHOWN_MAX, PACKET_BYTES_MIN};
use protocol::limits::AGENCIES_MAX;
use protocol::{AgencyId, Bet, Digest, Request, write_rows_packet};

/// A file gives the same result in reads of `piece` bytes as at once. If it has bets, batches of
/// `batch` are packets with all of them, in order; if not, the first bad lines are named.
pub fn a_file_is_bets_or_its_bad_lines_are_named(bytes: &[u8], piece: usize, batch: usize) {
    let read = Bets::read(bytes);
    let in_pieces = Bets::read(BufReader::with_capacity(piece.max(1), bytes));
    match (read, in_pieces) {
        (Ok(bets), Ok(in_pieces)) => {
            assert_eq!(bets, in_pieces);
            batches_are_packets_of_all(&bets, batch.max(1));
        }
        (Err(ReadError::Bad(bad)), Err(ReadError::Bad(in_pieces))) => {
            assert_eq!(bad, in_pieces);
            let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
            assert!((1..=lines).contains(&bad.count));
            assert_eq!(bad.lines.len() as u64, bad.count.min(BAD_LINES_SHOWN_MAX as u64));
            assert!(bad.lines.is_sorted_by(|one, next| one.0 < next.0), "in their order, once");
            let is_plain = |why: &str| !why.is_empty() && !why.chars().any(char::is_control);
            assert!(bad.lines.iter().all(|(line, why)| *line <= lines && is_plain(why)));
        }
        (read, in_pieces) => panic!("{read:?} at once, {in_pieces:?} in pieces"),
    }
}

fn batches_are_packets_of_all(bets: &Bets, batch: usize) {
    // The longest number.
    let agency = AgencyId::new(AGENCIES_MAX).expect("it is an agency");
    let limits = BatchLimits { bets: batch, bytes: PACKET_BYTES_MIN + batch };
    let (mut row, mut digest) = (1, Digest::default());
    while let Some(batch) = bets.batch(row, limits) {
        let mut packet = Vec::new();
        write_rows_packet(agency, Some(row), batch.wire, &mut packet);
        assert!(packet.len() <= limits.bytes, "a packet is no longer than it may be");
        assert_eq!(packet.pop(), Some(b'\n'));
        let request = Request::parse(&packet).expect("a batch is a packet");
        let Request::StoreRows { first_row, bets: sent, .. } = request else {
            panic!("{request:?}")
        };
        assert_eq!((first_row, sent.len() as u64), (row, batch.rows));
        assert!(sent.len() <= limits.bets);
        digest = sent.texts().fold(digest, |digest, bet| digest.fold(bet.as_bytes()));
        row = batch.last_row() + 1;
    }
    assert_eq!((row - 1, Some(digest)), (bets.rows(), bets.digest(bets.rows())));
}

/// The records that the `csv` crate finds in `bytes`, written by that crate, are read as the same
/// bets; if some are not bets, as many lines are named. Blank records, and those with line ends in
/// their fields, are left out, because a row is a physical line.
pub fn records_are_bets(bytes: &[u8]) {
    // With a byte order mark, so that none is removed from a first name.
    let (mut file, mut wanted, mut none) = ("\u{feff}".as_bytes().to_vec(), Vec::new(), 0);
    for record in records(bytes) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&record).expect("a Vec takes every byte");
        file.extend(writer.into_inner().expect("a Vec takes every byte"));
        match <[&str; 5]>::try_from(record.iter().collect::<Vec<_>>()).map(Bet::new) {
            Ok(Ok(bet)) => {
                bet.write_wire(&mut wanted);
                wanted.push(b':');
            }
            _ => none += 1,
        }
    }
    match Bets::read(file.as_slice()) {
        Ok(bets) => {
            let limits = BatchLimits { bets: usize::MAX, bytes: usize::MAX };
            let all = bets.batch(1, limits).map(|batch| format!("{}:", batch.wire));
            assert_eq!(all.unwrap_or_default().as_bytes(), wanted);
            assert_eq!(none, 0);
        }
        Err(ReadError::Bad(bad)) => assert_eq!(bad.count, none, "{bad}"),
        Err(ReadError::Io(error)) => panic!("{error}"),
    }
}

fn records(bytes: &[u8]) -> impl Iterator<Item = csv::StringRecord> {
    let mut builder = csv::ReaderBuilder::new();
    let reader = builder.has_headers(false).flexible(true).from_reader(bytes);
    let has_line_end = |field: &str| field.contains(['\n', '\r']);
    let records = reader.into_records().filter_map(Result::ok).collect::<Vec<_>>();
    records.into_iter().filter(move |record| !record.iter().any(has_line_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "(\u{feff}|)\"?(Ana|\"A, B\"|\"\"|A;|),(Paz|ñ),\"?(1|A9)\"?,\
                        2000-0[1-3]-(01|30),(7|0007|12345)\"?\r?\n{0,2}";
    const BET: &str = "(Ana|\"A, B\"|\"A\"\"\"),\"?[a-zñ]{1,80}\"?,A9,2000-01-01,7\r?\n";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3 * 256))]
        #[test]
        fn hold_for_bets_near_bets_and_any_bytes(
            bytes in prop_oneof![
                prop::collection::vec(BET, 0..12).prop_map(|lines| lines.concat().into_bytes()),
                prop::collection::vec(LINE, 0..6).prop_map(|lines| lines.concat().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..100),
            ],
            piece in 0..9_usize, batch in 0..5_usize,
        ) {
            a_file_is_bets_or_its_bad_lines_are_named(&bytes, piece, batch);
            records_are_bets(&bytes);
        }
    }
}
