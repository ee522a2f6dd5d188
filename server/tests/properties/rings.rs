//! Rings of intents: whatever stands in one, mending the log cuts off nothing that may be
//! another system's, changes nothing else, and has to be done once.

use journal::disk::FileId;
use journal::limits::INTENTS_MAX;
use xxhash_rust::xxh3::xxh3_64;

use super::instance::status_on;
use super::memory_disk::{BOOT, MemoryDisk};

const RECORD_BYTES: usize = 64;

/// How many bytes of an input make one intent.
pub const BYTES_PER_INTENT: usize = 8;

/// A log, its ring, and the end of a line that may be another system's.
struct Place {
    log: &'static str,
    ring: &'static str,
    others_end: &'static [u8],
}

const PLACES: [Place; 2] = [
    Place { log: "bets.csv", ring: "locks/bets.csv.intent", others_end: b"\r\n" },
    Place { log: "agencies_closed.txt", ring: "locks/agencies_closed.intent", others_end: b"\n" },
];

impl Place {
    /// Where a group of ours can start: behind a line's end, or where the log ended without one.
    fn starts(&self, log: &[u8]) -> Vec<usize> {
        let may_be_open = self.others_end == b"\n";
        let is_start = |at: &usize| *at == 0 || may_be_open || log[at - 1] == b'\n';
        (0..=log.len()).filter(is_start).collect()
    }
}

/// An instance starts on a log with the intents that are made of `intents`, mends it as it should,
/// and counts what the mended log says.
pub fn mending_keeps_what_others_wrote(intents: &[u8], log: &[u8]) {
    for place in PLACES {
        let disk = MemoryDisk::default();
        let file = disk.append(place.log, log);
        disk.append(place.ring, &ring(intents, file, &place.starts(log), log));
        let status = status_on(&disk);
        let mended = disk.content(place.log);
        assert!(log.starts_with(&mended), "mending only cuts");
        let ends = log.windows(place.others_end.len()).rposition(|end| end == place.others_end);
        let others = ends.map_or(0, |at| at + place.others_end.len());
        assert!(mended.len() >= others, "cut at {}, not behind {others}", mended.len());
        assert_eq!(status_on(&disk), status, "the next instance counts the same");
        assert_eq!(disk.content(place.log), mended, "and cuts nothing more");
        let alone = MemoryDisk::default();
        alone.append(place.log, &mended);
        assert_eq!(status_on(&alone), status, "what is counted is what is left");
    }
}

/// A ring of well-formed records, some of them torn, whose numbers are near each other, near the
/// log's, or near the largest there is.
fn ring(intents: &[u8], file: FileId, starts: &[usize], log: &[u8]) -> Vec<u8> {
    let mut ring = vec![0; INTENTS_MAX as usize * RECORD_BYTES];
    for intent in intents.chunks_exact(BYTES_PER_INTENT) {
        let sequence = number(intent[0]);
        let slot = (sequence % INTENTS_MAX) as usize * RECORD_BYTES;
        let record = &mut ring[slot..slot + RECORD_BYTES];
        record.copy_from_slice(&record_of(intent, file, starts, log));
        if intent[6] > 0xf0 {
            record[usize::from(intent[7]) % RECORD_BYTES] ^= 1;
        }
    }
    ring
}

fn record_of(intent: &[u8], file: FileId, starts: &[usize], log: &[u8]) -> [u8; RECORD_BYTES] {
    let [sequence, offset, bytes] = [intent[0], intent[3], intent[4]].map(number);
    let offset = match usize::from(intent[3]) {
        0xf0.. => offset,
        place => starts[place % starts.len()] as u64,
    };
    let range = usize::try_from(offset).ok().zip(usize::try_from(offset.wrapping_add(bytes)).ok());
    // A group of ours is whole lines: what does not end as one does not match.
    let group = range.and_then(|(start, end)| log.get(start..end));
    let group = group.filter(|group| group.ends_with(b"\n")).unwrap_or_default();
    let checksum = if intent[5] > 0xf0 { u64::from(intent[5]) } else { xxh3_64(group) };
    let file = if intent[1] > 0xf0 { u64::from(intent[1]) } else { file.0 };
    let boot = if intent[2] > 0x80 { u128::from(intent[2]) } else { BOOT.0 };
    let body = [sequence, file, boot as u64, (boot >> 64) as u64, offset, bytes, checksum];
    let mut record = [0; RECORD_BYTES];
    for (to, number) in record.chunks_exact_mut(8).zip(body) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    let check = xxh3_64(&record[..RECORD_BYTES - 8]);
    record[RECORD_BYTES - 8..].copy_from_slice(&check.to_le_bytes());
    record
}

fn number(byte: u8) -> u64 {
    if byte < 0xf0 { u64::from(byte) } else { u64::MAX - u64::from(0xff - byte) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: u8 = 0;
    const BEFORE: u8 = 0xff;

    /// Sequence, run of the machine, offset, bytes, checksum of its own; in this file, not torn.
    fn intent((sequence, boot, offset, bytes, checksum): (u8, u8, u8, u8, u8)) -> [u8; 8] {
        [sequence, 0, boot, offset, bytes, checksum, 0, 0]
    }

    fn intents() -> impl Strategy<Value = Vec<u8>> {
        let boot = prop_oneof![Just(HERE), Just(BEFORE)];
        let one = (0..6_u8, boot, 0..5_u8, 0..40_u8, prop_oneof![3 => Just(0), 1 => Just(0xff)]);
        proptest::collection::vec(one.prop_map(intent), 0..5).prop_map(|all| all.concat())
    }

    #[test]
    fn holds_for_every_end_of_a_log() {
        let log = b"1,A,B,1,2000-01-01,7\n2,A,B,2,2000-01-01,7\r\n3,A,B,3,2000-01-01,7\n";
        for bytes in 0..=log.len() {
            for boot in [HERE, BEFORE] {
                let intents = [(1, boot, 0, 0, 0), (2, boot, 1, 43, 0)].map(intent).concat();
                mending_keeps_what_others_wrote(&intents, &log[..bytes]);
            }
        }
    }

    #[test]
    fn holds_for_the_highest_sequence_numbers() {
        for sequence in 0xf0..=0xff {
            let intent = intent((sequence, BEFORE, 0, 0, 0));
            mending_keeps_what_others_wrote(&intent, b"1,A,B,1,2000-01-01,7\n");
        }
    }

    #[test]
    fn holds_for_another_systems_torn_row_over_a_group() {
        let log = b"1,A,B,1,2000-01-01,7\n1,A,B,2,22,A,B,3,2000-01-01,7,torn";
        mending_keeps_what_others_wrote(&intent((1, HERE, 0, 40, 0)), log);
    }

    proptest! {
        #[test]
        fn holds_for_near_intents(
            intents in intents(), lines in "([1-3],A,B,1,2000-01-01,7\r?\n|[1-3]\r?\n|[1-3]){0,4}",
        ) {
            mending_keeps_what_others_wrote(&intents, lines.as_bytes());
        }

        #[test]
        fn holds_for_any_bytes(
            intents in proptest::collection::vec(any::<u8>(), 0..40),
            log in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            mending_keeps_what_others_wrote(&intents, &log);
        }
    }
}
