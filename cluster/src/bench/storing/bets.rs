//! The bets that are sent, in each contestant's form, made before any clock starts.

use std::path::Path;

use anyhow::Context as _;

/// One bet's fields: first name, last name, document, birthdate, number.
pub type Fields = [String; 5];

/// The same bets for everybody.
#[derive(Debug, Clone)]
pub struct Bets {
    fields: Vec<Fields>,
}

impl Bets {
    /// Reads a file of bets.
    ///
    /// # Errors
    /// It cannot be read, or a row has not five fields.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path)?;
        let rows = reader.deserialize().collect::<Result<Vec<Fields>, _>>();
        Ok(Self { fields: rows.with_context(|| format!("read {}", path.display()))? })
    }

    /// All of them cut into batches of `size`; what is left over is left out. Each agency starts
    /// at another batch.
    pub fn batches(&self, size: u32, agency: u32) -> impl Iterator<Item = &[Fields]> + Clone {
        let batches: Vec<&[Fields]> = self.fields.chunks_exact(size as usize).collect();
        let start = agency as usize * 7 % batches.len().max(1);
        let after = batches.clone().into_iter().skip(start);
        after.chain(batches.into_iter().take(start))
    }
}

/// Bets as packets have them: `first;last;document;birthdate;number:first;…`.
#[must_use]
pub fn wire(batch: &[Fields]) -> String {
    batch.iter().map(|fields| fields.join(";")).collect::<Vec<_>>().join(":")
}

/// Bets as rows of `bets.csv`.
///
/// # Errors
/// Never: a row in memory can always be written.
pub fn rows(batch: &[Fields], agency: u32) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for fields in batch {
        writer.serialize((agency, fields))?;
    }
    writer.into_inner().context("write rows")
}
