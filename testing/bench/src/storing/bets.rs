//! The bets that are sent, in each contestant's form, made before any clock starts.

use std::path::Path;

use anyhow::Context as _;

/// One bet's fields: first name, last name, document, birthdate, number.
pub type Fields = [String; 5];

/// The same bets for all contestants.
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

/// What an agency sends, one after the other, over and over.
#[derive(Debug)]
pub struct Cycle<T> {
    all: Vec<T>,
    next: usize,
}

impl<T> Cycle<T> {
    /// Starts with the first of `all`.
    pub fn new(all: impl Iterator<Item = T>) -> Self {
        Self { all: all.collect(), next: 0 }
    }

    /// The next one.
    ///
    /// # Errors
    /// There is none at all.
    pub fn next(&mut self) -> anyhow::Result<&T> {
        let place = self.next % self.all.len().max(1);
        self.next += 1;
        self.all.get(place).context("fewer bets than one batch")
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

/// One statement that inserts all bets of `batch`.
pub fn insert(batch: &[Fields], agency: u32) -> String {
    let rows = batch.iter().map(|fields| {
        let [first, last, document, birthdate, number] =
            fields.each_ref().map(|field| field.replace('\'', "''"));
        format!("({agency},'{first}','{last}','{document}','{birthdate}',{number})")
    });
    format!("INSERT INTO bets VALUES {};", rows.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bets_have_the_form_of_each_contestant() {
        let bet = ["Ana", "O'Paz, h", "1", "1990-05-17", "7"].map(str::to_owned);
        let bets = Bets { fields: vec![bet.clone(), bet.clone(), bet] };
        let batches: Vec<_> = bets.batches(2, 9).collect();
        assert_eq!(batches.len(), 1);
        let one = "Ana;O'Paz, h;1;1990-05-17;7";
        assert_eq!(wire(batches[0]), format!("{one}:{one}"));
        let rows = String::from_utf8(rows(&batches[0][..1], 9).unwrap()).unwrap();
        assert_eq!(rows, "9,Ana,\"O'Paz, h\",1,1990-05-17,7\n");
        assert_eq!(
            insert(&batches[0][..1], 9),
            "INSERT INTO bets VALUES (9,'Ana','O''Paz, h','1','1990-05-17',7);"
        );
    }
}
