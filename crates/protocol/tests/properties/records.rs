//! What the `csv` crate makes of bytes: well-formed rows for a reader to agree about.
//! The properties of the server's logs use it as well.

/// A well-formed line of `bets.csv`, and what it is to be read as.
pub struct Record {
    fields: csv::ByteRecord,
}

impl Record {
    /// Whatever records there are in `bytes`, but for those with line ends in their fields: in
    /// `bets.csv` a physical line is a row. No field has a `;`, which separates them on the wire.
    pub fn all(bytes: &[u8]) -> Vec<Self> {
        let bytes: Vec<u8> =
            bytes.iter().map(|byte| if *byte == b';' { b' ' } else { *byte }).collect();
        let mut builder = csv::ReaderBuilder::new();
        let reader = builder.has_headers(false).flexible(true).from_reader(bytes.as_slice());
        let has_line_end = |field: &[u8]| field.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let records = reader.into_byte_records().filter_map(Result::ok);
        let plain = records.filter(|record| !record.iter().any(has_line_end));
        plain.map(|fields| Self { fields }).collect()
    }

    /// The record as a line that `csv` writes, with its end.
    pub fn line(&self, is_crlf: bool) -> Vec<u8> {
        let end = if is_crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(end).from_writer(Vec::new());
        writer.write_byte_record(&self.fields).expect("a Vec takes every byte");
        writer.into_inner().expect("a Vec takes every byte")
    }

    /// Agency and wire form, if the record is a row: six fields, of which the first is a number.
    pub fn row(&self) -> Option<(u32, Vec<u8>)> {
        let fields: Vec<&[u8]> = self.fields.iter().collect();
        let [agency, fields @ .., number] = fields.as_slice() else { return None };
        let agency = plain_number(agency, 10).and_then(|agency| u32::try_from(agency).ok())?;
        let number = match plain_number(number, 20) {
            Some(number @ 0..=9_999) => number.to_string().into_bytes(),
            _ => number.to_vec(),
        };
        (fields.len() == 4).then(|| (agency, [fields, &[&number]].concat().join(&b';')))
    }
}

fn plain_number(digits: &[u8], digits_max: usize) -> Option<u64> {
    let is_plain =
        (1..=digits_max).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}
