//! Reads a file of bets in blocks of whole lines: a block at once if all of its lines are canonical,
//! which is fast, else line by line, which finds out what is wrong with each.
//!
//! **Invariant**: both ways give the same bets.

use std::io::{self, BufRead, Read as _};

use protocol::limits::LINE_BYTES_MAX;
use protocol::{Bet, Field};

use super::{BadLines, Bets, ReadError, invalid_fields, quoted};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// See [`Bets::read`]. A block has about `block_bytes` bytes.
pub(super) fn read(mut input: impl BufRead, block_bytes: usize) -> Result<Bets, ReadError> {
    let (mut rows, mut bad, mut block) = (Rows::default(), BadLines::default(), Vec::new());
    // The number of the last line, from 1, and of a blank line, if that was the last one. At the end
    // of a file it is allowed.
    let (mut number, mut blank) = (0, None);
    while read_block(&mut input, block_bytes, &mut block)? {
        let mark = if number == 0 { BYTE_ORDER_MARK } else { b"" };
        let lines = block.strip_prefix(mark).unwrap_or(&block);
        if blank.is_none()
            && let Some(count) = rows.read_canonical(lines)
        {
            number += count;
            continue;
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            if let Some(blank) = blank.take() {
                bad.push(blank, "the line is blank".to_owned());
            }
            match rows.read(line) {
                Ok(true) => {}
                Ok(false) => blank = Some(number),
                Err(reason) => bad.push(number, reason),
            }
        }
    }
    if bad.count > 0 { Err(ReadError::Bad(bad)) } else { Ok(rows.bets) }
}

/// Reads whole lines, each with a `\n`, also the last line of the file; `false` at its end. Of a
/// line that is too long only the start is kept.
fn read_block(input: &mut impl BufRead, bytes: usize, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    input.take(bytes as u64).read_to_end(block)?;
    if block.is_empty() {
        return Ok(false);
    }
    if !block.ends_with(b"\n") {
        let rest = input.take(LINE_BYTES_MAX as u64).read_until(b'\n', block)?;
        if !block.ends_with(b"\n") {
            block.push(b'\n');
            if rest == LINE_BYTES_MAX {
                input.skip_until(b'\n')?;
            }
        }
    }
    Ok(true)
}

/// The rows that were read so far.
#[derive(Default)]
struct Rows {
    bets: Bets,
    quotes: Quotes,
    /// A buffer that is used again for each block and row.
    wire: Vec<u8>,
}

impl Rows {
    /// Appends these lines at once if all of them are canonical, and returns their number.
    /// Otherwise appends none and returns `None`. A canonical line is the wire form with other
    /// separators. So are many lines.
    fn read_canonical(&mut self, lines: &[u8]) -> Option<u64> {
        if memchr::memchr3(b'"', b';', b':', lines).is_some() {
            return None;
        }
        let Self { bets, wire, .. } = self;
        wire.clear();
        let (from, count, mut start) = (bets.wire.len(), bets.ends.len(), 0);
        for end in memchr::memchr_iter(b'\n', lines) {
            let line = lines.get(start..end).unwrap_or_default();
            wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            bets.ends.push(from + wire.len());
            wire.push(b':');
            start = end + 1;
        }
        wire.iter_mut().for_each(|byte| *byte = if *byte == b',' { b';' } else { *byte });
        let canonical = str::from_utf8(wire).ok().filter(|wire| {
            let bets = wire.strip_suffix(':').map(protocol::WireBets::parse);
            bets.is_some_and(|bets| bets.is_ok_and(|bets| bets.is_canonical()))
        });
        match canonical {
            Some(wire) => bets.wire.push_str(wire),
            None => bets.ends.truncate(count),
        }
        canonical.map(|_| (bets.ends.len() - count) as u64)
    }

    /// Appends the bet of a line, or says what is wrong with it; `false` if the line is blank.
    fn read(&mut self, line: &[u8]) -> Result<bool, String> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.len() >= LINE_BYTES_MAX {
            return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(false);
        }
        let line = str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        let Self { bets, quotes, wire } = self;
        let bet = match memchr::memchr_iter(b'"', line.as_bytes()).count() {
            0 => bet_of(line.split(','))?,
            quotes if quotes % 2 == 1 => return Err("a quote is not closed".to_owned()),
            _ => bet_of(quotes.fields(line))?,
        };
        bets.push(&bet, wire);
        Ok(true)
    }
}

fn bet_of<'l>(fields: impl Iterator<Item = &'l str>) -> Result<Bet<'l>, String> {
    let mut five = [""; Field::ALL.len()];
    let mut count = 0;
    for field in fields {
        if let Some(place) = five.get_mut(count) {
            *place = field;
        }
        count += 1;
    }
    if count != five.len() {
        return Err(format!("the line has {count} fields instead of {}", five.len()));
    }
    Bet::new(five).map_err(|_| {
        let invalid = invalid_fields(five).flatten();
        let reasons = invalid.map(|(invalid, value)| format!("{invalid}: {}", quoted(value)));
        reasons.collect::<Vec<_>>().join("; ")
    })
}

/// Removes quotes. It is kept, because building it takes longer than reading a line.
struct Quotes {
    csv: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for Quotes {
    fn default() -> Self {
        let end = csv_core::Terminator::Any(b'\n');
        let csv = csv_core::ReaderBuilder::new().terminator(end).build();
        Self { csv, text: Vec::new(), ends: Vec::new() }
    }
}

impl Quotes {
    /// The fields of `line`, without their quotes.
    fn fields(&mut self, line: &str) -> impl Iterator<Item = &str> {
        let Self { csv, text, ends } = self;
        text.resize(line.len() + 1, 0);
        ends.resize(memchr::memchr_iter(b',', line.as_bytes()).count() + 2, 0);
        csv.reset();
        let (_, _, written, fields) = csv.read_record(line.as_bytes(), text, ends);
        let (rest, more) = (text.get_mut(written..), ends.get_mut(fields..));
        // No more bytes: this is the end of the last field.
        let (_, _, _, last) =
            csv.read_record(b"", rest.unwrap_or_default(), more.unwrap_or_default());
        let (text, ends, mut start) = (&*text, &*ends, 0);
        ends.iter().take(fields + last).map(move |end| {
            let field = text.get(start..*end).unwrap_or_default();
            start = *end;
            str::from_utf8(field).expect("removing quotes keeps UTF-8 valid")
        })
    }
}
