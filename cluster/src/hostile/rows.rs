//! Rows as they were sent and as they are stored, to be compared.

use std::fmt::Write as _;

use xxhash_rust::xxh3::xxh3_64;

/// How many different batches an ordinary agency sends, over and over.
const BATCHES: u64 = 16;

/// How many bets a batch has.
pub const BATCH_ROWS: u64 = 100;

/// Some rows in any order, each as often as it was added: equal sets have equal sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSet {
    /// How many rows.
    pub count: u64,
    sum: u64,
}

impl RowSet {
    /// Adds the row of `agency` with these fields, the number as `bets.csv` has it.
    pub fn push<'f>(&mut self, agency: u32, fields: impl IntoIterator<Item = &'f [u8]>) {
        let mut row = agency.to_le_bytes().to_vec();
        for field in fields {
            row.extend_from_slice(field);
            // No field can hold it.
            row.push(b'\n');
        }
        self.count += 1;
        self.sum = self.sum.wrapping_add(xxh3_64(&row));
    }

    /// Adds all rows of another set.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The bet at `place`, from 0, of the ordinary agency `agency`.
#[must_use]
pub fn ordinary_bet(agency: u32, place: u64) -> [String; 5] {
    let place = place % (BATCHES * BATCH_ROWS);
    [
        format!("María {place}"),
        "Núñez".to_owned(),
        format!("{agency}{place}"),
        "1990-05-17".to_owned(),
        (place % 7_000).to_string(),
    ]
}

/// The batches of an ordinary agency as they stand on the wire, without the packet's head.
#[must_use]
pub fn ordinary_batches(agency: u32) -> Vec<String> {
    let batch = |batch: u64| {
        let mut text = String::new();
        for place in batch * BATCH_ROWS..(batch + 1) * BATCH_ROWS {
            let _ = write!(text, ":{}", ordinary_bet(agency, place).join(";"));
        }
        text
    };
    (0..BATCHES).map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[(u32, [&str; 2])]) -> RowSet {
        let mut set = RowSet::default();
        for (agency, fields) in rows {
            set.push(*agency, fields.iter().map(|field| field.as_bytes()));
        }
        set
    }

    #[test]
    fn sets_are_equal_in_any_order_and_only_then() {
        let (one, other) = ((1, ["a", "b"]), (2, ["a", "b"]));
        assert_eq!(set(&[one, other, one]), set(&[one, one, other]));
        for different in [&[one, other][..], &[one, other, other], &[one, one, (1, ["ab", ""])]] {
            assert_ne!(set(different), set(&[one, other, one]), "{different:?}");
        }
    }

    #[test]
    fn batches_hold_the_bets_in_order() {
        let batches = ordinary_batches(7);
        assert_eq!(batches.len() as u64, BATCHES);
        let second = ordinary_bet(7, BATCH_ROWS).join(";");
        assert!(batches.get(1).unwrap().starts_with(&format!(":{second}:")));
        assert_eq!(ordinary_bet(7, 0), ordinary_bet(7, BATCHES * BATCH_ROWS));
    }
}
