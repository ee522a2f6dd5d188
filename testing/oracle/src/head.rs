//! How many rows of an agency are stored, and their digest.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The count and the digest of an agency's first rows. The digest is chained, so that equal heads
/// are of equal rows in equal order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// How many rows.
    pub rows: u64,
    digest: u64,
}

impl Head {
    /// Adds the next row: its five fields, the number without leading zeros.
    pub fn push<F: AsRef<[u8]>>(&mut self, fields: &[F]) {
        let fields: Vec<&[u8]> = fields.iter().map(AsRef::as_ref).collect();
        self.rows += 1;
        self.digest = xxh3_64_with_seed(&fields.join(&b';'), self.digest);
    }

    /// The digest as answers and files have it, 16 hex digits.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:016x}", self.digest)
    }
}

/// As in answers: `rows;digest`.
impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{};{:016x}", self.rows, self.digest)
    }
}
