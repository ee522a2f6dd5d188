//! The two logs: whatever stands in them, an instance starts on it, counts what makes sense, and
//! counts the same however much of it was there when it first looked.

use protocol::AgencyState;
use server::store::{AgencyRows, AgencyStatus};

use super::instance::{AGENCIES, status_of_all, status_on, with_store};
use super::memory_disk::MemoryDisk;
use super::records::Record;

const BETS: &str = "bets.csv";
const CLOSES: &str = "agencies_closed.txt";

/// `bets.csv` with these bytes says the same to an instance that finds all of it and to one that
/// was there when it ended at one of its line ends, and loses its torn last line only.
pub fn bets_are_the_same_in_parts(bytes: &[u8], cut: usize) {
    let ends = positions(bytes, |at| at == 0 || bytes[at - 1] == b'\n');
    let cut = ends[cut % ends.len()];
    let (disk, whole) = in_parts(BETS, &bytes[..cut], &bytes[cut..]);
    let alone = MemoryDisk::default();
    alone.append(BETS, bytes);
    assert_eq!(status_on(&alone), whole);
    let torn = ends.last().copied().unwrap_or_default();
    for disk in [disk, alone] {
        assert_eq!(disk.content(BETS), bytes[..torn]);
    }
}

/// As [`bets_are_the_same_in_parts`], for `agencies_closed.txt`, whose last line is whole without
/// its end, which another system may put before the next line.
pub fn closes_are_the_same_in_parts(bytes: &[u8], cut: usize) {
    let is_end = |at| at == 0 || bytes[at - 1] == b'\n' || bytes.get(at) == Some(&b'\n');
    let ends = positions(bytes, is_end);
    let cut = ends[cut % ends.len()];
    let (disk, whole) = in_parts(CLOSES, &bytes[..cut], &bytes[cut..]);
    let alone = MemoryDisk::default();
    alone.append(CLOSES, bytes);
    assert_eq!(status_on(&alone), whole);
    for disk in [disk, alone] {
        assert_eq!(disk.content(CLOSES), bytes);
    }
    assert_eq!(states(&whole), closed_by(bytes));
}

/// Where a file may be cut, its start and perhaps its end among them.
fn positions(bytes: &[u8], is_end: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..=bytes.len()).filter(|at| is_end(*at)).collect()
}

fn in_parts(name: &str, first: &[u8], rest: &[u8]) -> (MemoryDisk, [AgencyStatus; 3]) {
    let disk = MemoryDisk::default();
    disk.append(name, first);
    let status = with_store(&disk, async |store| {
        status_of_all(store).await;
        disk.append(name, rest);
        status_of_all(store).await
    });
    (disk.clone(), status.expect("there is no draw that contradicts"))
}

fn states(status: &[AgencyStatus]) -> Vec<AgencyState> {
    status.iter().map(|status| status.state).collect()
}

/// An agency has closed if its number is all that a line holds, apart from blanks around it.
fn closed_by(bytes: &[u8]) -> Vec<AgencyState> {
    let number = |line: &[u8]| {
        let text = str::from_utf8(line.trim_ascii()).ok()?;
        let is_plain = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<u64>().ok())?
    };
    let closed: Vec<u64> = bytes.split(|byte| *byte == b'\n').filter_map(number).collect();
    let state = |agency| match closed.contains(&u64::from(agency)) {
        true => AgencyState::Closed,
        false => AgencyState::Open,
    };
    (1..=AGENCIES).map(state).collect()
}

/// Whatever records the `csv` crate finds in `bytes`: written by it into `bets.csv`, with either
/// line end, those that are rows of an agency are counted, and nothing else is.
pub fn rows_are_those_of_csv(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    let mut wanted = vec![AgencyRows::default(); AGENCIES as usize];
    for (place, record) in Record::all(bytes).iter().enumerate() {
        disk.append(BETS, &record.line(place % 2 == 0));
        let Some((agency, wire)) = record.row() else { continue };
        let known = (1..=AGENCIES).zip(&mut wanted).find(|(known, _)| *known == agency);
        if let Some((_, AgencyRows { rows, digest })) = known {
            *rows += 1;
            *digest = digest.fold(&wire);
        }
    }
    let stored: Vec<_> = status_on(&disk).iter().map(|status| status.stored).collect();
    assert_eq!(stored, wanted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "\"?[0-4]?\"?,(Ana|\"A, B\"|\"),Paz,1,2000-01-01,0?7\"?\r?\n?";
    const CLOSE: &str = " ?(0?[0-4]|100000|x|\u{0}|)\r?\n{0,2}";

    fn all_of_bets(bytes: &[u8], cut: usize) {
        bets_are_the_same_in_parts(bytes, cut);
        rows_are_those_of_csv(bytes);
    }

    #[test]
    fn hold_for_every_form() {
        for bets in [
            &b""[..],
            b"\n\n",
            b"1,Ana,Paz,1,2000-01-01,7\r\n\r\n1,Ana,Paz,1,2000-01-01,7\n1,torn",
            b"\"1,open\n1,Ana,Paz,1,2000-01-01,\"07\"\n",
        ] {
            (0..3).for_each(|cut| all_of_bets(bets, cut));
        }
        for closes in [&b"1\n2\n3"[..], b"1\n2\n\n3", b"\r\n1 \r\n\t2\nx\n", b"1\n00000000003"] {
            (0..4).for_each(|cut| closes_are_the_same_in_parts(closes, cut));
        }
    }

    proptest! {
        #[test]
        fn hold_for_near_rows(lines in proptest::collection::vec(LINE, 0..8), cut in 0..8_usize) {
            all_of_bets(lines.concat().as_bytes(), cut);
        }

        #[test]
        fn hold_for_near_closes(
            lines in proptest::collection::vec(CLOSE, 0..8), cut in 0..8_usize,
        ) {
            closes_are_the_same_in_parts(lines.concat().as_bytes(), cut);
        }

        #[test]
        fn hold_for_any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), cut in 0..8_usize,
        ) {
            all_of_bets(&bytes, cut);
            closes_are_the_same_in_parts(&bytes, cut);
        }
    }
}
