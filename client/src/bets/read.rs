//! Reads a file of bets: a buffer of lines at once if all are canonical, which is fast, else line
//! by line, which finds out what is wrong with each.
//!
//! **Invariant**: both ways give the same bets.

use std::io::{self, BufRead};

use protocol::limits::LINE_BYTES_MAX;
use protocol::{Bet, Field};

use super::{BadLines, Bets, ReadError, invalid_fields, quoted};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// See [`Bets::read`].
pub(super) fn read(input: impl BufRead) -> Result<Bets, ReadError> {
    let mut reader = Reader {
        input,
        number: 0,
        rows: Rows::default(),
        bad: BadLines::default(),
        blank: None,
        line: Vec::new(),
    };
    while reader.read_block()? {}
    if reader.bad.count > 0 { Err(ReadError::Bad(reader.bad)) } else { Ok(reader.rows.finish()) }
}

/// The state of reading a file.
struct Reader<R> {
    input: R,
    /// The number of the last line that was read, from 1.
    number: u64,
    rows: Rows,
    bad: BadLines,
    /// The number of a blank line, if that was the last line. At the end of a file it is allowed.
    blank: Option<u64>,
    line: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the buffered lines, or at least one; `false` at the end of the file.
    fn read_block(&mut self) -> io::Result<bool> {
        let block = self.input.fill_buf()?;
        let bytes = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
        let mark = if self.number == 0 && block.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let lines = block.get(mark..bytes).unwrap_or_default();
        if self.blank.is_none()
            && let Some(count) = self.rows.read_canonical(lines)
        {
            self.number += count;
            self.input.consume(bytes);
            return Ok(true);
        }
        let lines = memchr::memchr_iter(b'\n', lines).count().max(1);
        for _ in 0..lines {
            if !self.read_line()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads one line and finds out what is wrong with it; `false` at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        let length = read_line(&mut self.input, &mut self.line)?;
        if length == Length::End {
            return Ok(false);
        }
        self.number += 1;
        if let Some(blank) = self.blank.take() {
            self.bad.push(blank, "the line is blank".to_owned());
        }
        let text = content(&self.line, self.number);
        if length == Length::Over {
            let reason = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            self.bad.push(self.number, reason);
        } else if text.is_empty() {
            self.blank = Some(self.number);
        } else if let Err(reason) = self.rows.read(text) {
            self.bad.push(self.number, reason);
        }
        Ok(true)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    End,
    Fits,
    Over,
}

/// Reads a line with its `\n` into `line`. Of a line that is too long only the start is kept.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Length> {
    line.clear();
    let limit = LINE_BYTES_MAX as u64;
    let read = io::Read::take(&mut *input, limit).read_until(b'\n', line)?;
    if read < LINE_BYTES_MAX || line.ends_with(b"\n") {
        return Ok(if read == 0 { Length::End } else { Length::Fits });
    }
    input.skip_until(b'\n')?;
    Ok(Length::Over)
}

/// A line without its end. The first one also without the byte order mark that some editors write.
fn content(line: &[u8], number: u64) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line }
}

/// The rows that were read so far.
#[derive(Default)]
pub(super) struct Rows {
    wire: String,
    ends: Vec<usize>,
    /// `None` before the first line with quotes, and while one is read.
    quotes: Option<Quotes>,
    /// A buffer that is used again for each block and row.
    block: Vec<u8>,
}

impl Rows {
    pub(super) fn push(&mut self, bet: &Bet<'_>) {
        self.block.clear();
        bet.write_wire(&mut self.block);
        self.wire.push_str(str::from_utf8(&self.block).expect("bets are UTF-8"));
        self.ends.push(self.wire.len());
        self.wire.push(':');
    }

    /// Appends whole lines at once if all of them are canonical, and returns their number.
    /// Otherwise appends none and returns `None`.
    fn read_canonical(&mut self, lines: &[u8]) -> Option<u64> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let ends_before = self.ends.len();
        let count = self.append_canonical(lines, &mut block);
        if count.is_none() {
            self.ends.truncate(ends_before);
        }
        self.block = block;
        count
    }

    /// A canonical line is the wire form with other separators. So are many lines.
    fn append_canonical(&mut self, lines: &[u8], block: &mut Vec<u8>) -> Option<u64> {
        if memchr::memchr3(b'"', b';', b':', lines).is_some() {
            return None;
        }
        let (from, mut start, mut count) = (self.wire.len(), 0, 0);
        for end in memchr::memchr_iter(b'\n', lines) {
            let line = lines.get(start..end)?;
            block.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            self.ends.push(from + block.len());
            block.push(b':');
            (start, count) = (end + 1, count + 1);
        }
        block.iter_mut().for_each(|byte| *byte = if *byte == b',' { b';' } else { *byte });
        let wire = str::from_utf8(block).ok()?;
        let bets = protocol::WireBets::parse(wire.strip_suffix(':')?).ok()?;
        if !bets.is_canonical() {
            return None;
        }
        self.wire.push_str(wire);
        Some(count)
    }

    fn read(&mut self, line: &[u8]) -> Result<(), String> {
        let line = str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        if memchr::memchr(b'"', line.as_bytes()).is_some() {
            return self.read_quoted(line);
        }
        self.read_fields(line.split(','))
    }

    fn read_quoted(&mut self, line: &str) -> Result<(), String> {
        if memchr::memchr_iter(b'"', line.as_bytes()).count() % 2 == 1 {
            return Err("a quote is not closed".to_owned());
        }
        let mut quotes = self.quotes.take().unwrap_or_default();
        let read = self.read_fields(quotes.fields(line));
        self.quotes = Some(quotes);
        read
    }

    fn read_fields<'l>(&mut self, fields: impl Iterator<Item = &'l str>) -> Result<(), String> {
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
        let bet = Bet::new(five).map_err(|_| {
            let invalid = invalid_fields(five).into_iter();
            let lines = invalid.map(|(invalid, value)| format!("{invalid}: {}", quoted(value)));
            lines.collect::<Vec<_>>().join("; ")
        })?;
        self.push(&bet);
        Ok(())
    }

    pub(super) fn finish(self) -> Bets {
        Bets { wire: self.wire, ends: self.ends }
    }
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
        let fields_max = memchr::memchr_iter(b',', line.as_bytes()).count() + 1;
        text.resize(line.len() + 1, 0);
        ends.resize(fields_max + 1, 0);
        csv.reset();
        let (_, _, written, fields) = csv.read_record(line.as_bytes(), text, ends);
        let (rest, more) = (text.get_mut(written..), ends.get_mut(fields..));
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
