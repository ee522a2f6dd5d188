//! Sets of rows, as they were sent and as they are stored, to be compared.

use xxhash_rust::xxh3::xxh3_64;

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
}
