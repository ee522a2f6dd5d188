//! `bets.csv` as it is, read with the csv crate.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use csv::ByteRecord;

/// How much of the file is read at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// How many CSV records.
    pub rows: u64,
    /// Whether the last line has an end, or there is no line.
    pub ends_with_a_line: bool,
}

/// Passes every row to `each`, with its place from 1 and the agency in its first field, if that is
/// a number. Without a file there is no row.
///
/// # Errors
/// The file cannot be read, or `each` failed.
pub fn read(
    path: &Path,
    mut each: impl FnMut(u64, Option<u32>, &ByteRecord) -> anyhow::Result<()>,
) -> anyhow::Result<Read> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Read { rows: 0, ends_with_a_line: true });
        }
        opened => opened.with_context(|| format!("open {}", path.display()))?,
    };
    let ends_with_a_line = ends_with_a_line(&mut file).context("read the end of bets.csv")?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(file);
    let (mut rows, mut record) = (0, ByteRecord::new());
    while reader.read_byte_record(&mut record).context("read bets.csv")? {
        rows += 1;
        let agency = record.get(0).and_then(|field| str::from_utf8(field).ok()?.parse().ok());
        each(rows, agency, &record)?;
    }
    Ok(Read { rows, ends_with_a_line })
}

/// Leaves the file at its start.
fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = *b"\n";
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    file.rewind()?;
    Ok(last == *b"\n")
}

/// Fields as a person reads them.
pub fn text<'f>(fields: impl Iterator<Item = &'f [u8]>) -> String {
    fields.map(String::from_utf8_lossy).collect::<Vec<_>>().join(";")
}
