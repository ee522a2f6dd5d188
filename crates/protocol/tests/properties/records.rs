//! Well-formed rows from the `csv` crate, with which our readers must agree. The properties of the
//! server's logs use them, too.

/// A well-formed line of `bets.csv`, and the row that it must be read as.
pub struct Record {
    fields: csv::ByteRecord,
}

impl Record {
    /// The records in `bytes`, except those with line ends in their fields, because a row of
    /// `bets.csv` is a physical line. No field has a `;`, which is the separator of the wire form.
    pub fn all(bytes: &[u8]) -> Vec<Self> {
        let bytes: Vec<u8> =
            bytes.iter().map(|byte| if *byte == b';' { b' ' } else { *byte }).collect();
        let mut builder = csv::ReaderBuilder::new();
        let reader = builder.has_headers(false).flexible(true).from_reader(bytes.as_slice());
        let has_line_end = |field: &[u8]| field.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let records = reader.into_byte_records().filter_map(Result::ok);
        let one_line = records.filter(|record| !record.iter().any(has_line_end));
        one_line.map(|fields| Self { fields }).collect()
    }

    /// The record as a line that `csv` writes, with its line end.
    pub fn line(&self, is_crlf: bool) -> Vec<u8> {
        let end = if is_crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(end).from_writer(Vec::new());
        writer.write_byte_record(&self.fields).expect("a Vec takes every byte");
        writer.into_inner().expect("a Vec takes every byte")
    }

    /// Agency and wire form, if the record is a row: six fields, the first of which is a number.
    pub fn row(&self) -> Option<(u32, Vec<u8>)> {
        let fields: Vec<&[u8]> = self.fields.iter().collect();
        let [agency, fields @ .., number] = fields.as_slice() else { return None };
        let agency = number_of(agency, 10).and_then(|agency| u32::try_from(agency).ok())?;
        let number = match number_of(number, 20) {
            Some(number @ 0..=9_999) => number.to_string().into_bytes(),
            _ => number.to_vec(),
        };
        (fields.len() == 4).then(|| (agency, [fields, &[&number]].concat().join(&b';')))
    }
}

fn number_of(digits: &[u8], digits_max: usize) -> Option<u64> {
    let is_canonical =
        (1..=digits_max).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_canonical.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}
