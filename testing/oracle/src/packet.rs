//! What PROTOCOL.md says about a line by itself: which packet it is, if it is one, and otherwise by
//! what it is refused. Written anew from the document, without the server's code.

use chrono::NaiveDate;

/// The highest agency number that a line can name.
pub const AGENCIES_MAX: u32 = 100_000;

/// The longest line, without its `\n`.
const LINE_BYTES_MAX: usize = 65_535;

/// A bet as it stands in a packet, with its number as a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bet<'l> {
    /// First and last name, document, birthdate.
    pub texts: [&'l str; 4],
    /// 0 to 9999.
    pub number: u64,
}

/// A packet that breaks no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'l> {
    /// `StoreBet` or `StoreBatch`.
    Store(Vec<Bet<'l>>),
    /// `StoreRows`, with its first row.
    StoreRows(u64, Vec<Bet<'l>>),
    /// `AgencyClose`, with the rows that it declares, if it does.
    Close(Option<u64>),
    /// `AgencyStatus`.
    Status,
    /// `WinnersRequest`.
    Winners,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'l> {
    /// A packet of this agency.
    Of(u32, Packet<'l>),
    /// A malformed packet, with the start of its refusal, and the words one of which comes next.
    Malformed(&'static str, &'static [&'static str]),
    /// No packet.
    Unknown,
}

/// What `line`, without its `\n`, is in a lottery of the agencies from 1 to `last`.
#[must_use]
pub fn read(line: &[u8], last: u32) -> Line<'_> {
    let Some(end) = line.iter().position(|byte| *byte == b':') else { return Line::Unknown };
    let (name, body) = line.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let is_declared = body.contains(&b';');
    let start = match name {
        b"StoreBet" | b"StoreBatch" => "StoreResponse:1",
        b"StoreRows" => "StoreRowsResponse:2;0;0000000000000000;",
        b"AgencyClose" if is_declared => "AgencyCloseResponse:2;",
        b"AgencyClose" | b"AgencyStatus" | b"WinnersRequest" => "Error:",
        _ => return Line::Unknown,
    };
    let text = str::from_utf8(body).unwrap_or_default();
    let agency = |text| agency(text).filter(|number| *number <= last);
    let packet = || {
        let (of, packet) = match name {
            b"StoreBet" => {
                let (of, text) = text.split_once(';')?;
                (of, Packet::Store(vec![bet(text)?]))
            }
            b"StoreBatch" => {
                let (of, text) = text.split_once([';', ':'])?;
                (of, Packet::Store(bets(text)?))
            }
            b"StoreRows" => {
                let (head, text) = text.split_once(':')?;
                let (of, row) = head.split_once(';')?;
                (of, Packet::StoreRows(digits(row, 20).filter(|row| *row > 0)?, bets(text)?))
            }
            b"AgencyClose" if is_declared => {
                let (of, rows) = text.split_once(';')?;
                (of, Packet::Close(Some(digits(rows, 20)?)))
            }
            b"AgencyClose" => (text, Packet::Close(None)),
            b"AgencyStatus" => (text, Packet::Status),
            _ => (text, Packet::Winners),
        };
        Some(Line::Of(agency(of)?, packet))
    };
    // The document leaves open which of two faults is named.
    let body = String::from_utf8_lossy(body);
    let separators: &[char] = if name == b"StoreRows" { &[';', ':'] } else { &[';'] };
    let field = body.split(separators).next().and_then(agency);
    let is_too_long = line.len() > LINE_BYTES_MAX;
    let faults: &[_] = match field {
        _ if start == "StoreResponse:1" => &[],
        _ if is_too_long => &["invalid"],
        Some(_) if start != "Error:" => &["invalid"],
        _ => &["agency", "invalid"],
    };
    packet().filter(|_| !is_too_long).unwrap_or(Line::Malformed(start, faults))
}

/// Whether the server closes the connection after its answer to `line`: a `StoreBatch` in the
/// reference's form, right or wrong.
#[must_use]
pub fn ends_connection(line: &[u8]) -> bool {
    let body = line.strip_prefix(b"StoreBatch:").unwrap_or_default();
    body.iter().find(|byte| b";:".contains(byte)) == Some(&b':')
}

fn bets(text: &str) -> Option<Vec<Bet<'_>>> {
    text.split(':').map(bet).collect()
}

fn bet(text: &str) -> Option<Bet<'_>> {
    let fields: Vec<&str> = text.split(';').collect();
    let &[first, last, document, birthdate, number] = fields.as_slice() else { return None };
    let number = digits(number, 20).filter(|number| *number <= 9_999)?;
    let is_right = is_name(first) && is_name(last) && is_document(document) && is_date(birthdate);
    is_right.then_some(Bet { texts: [first, last, document, birthdate], number })
}

/// 1 to 100 bytes without control characters; the text before the next separator, so no `;`.
fn is_name(text: &str) -> bool {
    let is_control = |c: char| matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f);
    (1..=100).contains(&text.len()) && !text.chars().any(|c| is_control(c) || c == ':')
}

fn is_document(text: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
    (1..=20).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_date(text: &str) -> bool {
    let has_form = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    has_form && !text.starts_with("0000") && NaiveDate::parse_from_str(text, "%F").is_ok()
}

fn agency(text: &str) -> Option<u32> {
    let number = u32::try_from(digits(text, 10)?).ok()?;
    (1..=AGENCIES_MAX).contains(&number).then_some(number)
}

/// Plain digits, at most so many.
#[must_use]
pub fn digits(text: &str, most: usize) -> Option<u64> {
    let is_plain = !text.is_empty() && text.len() <= most;
    (is_plain && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Ana;Paz;1;2000-01-01;7";

    #[test]
    fn only_a_batch_in_the_form_of_the_reference_ends_the_connection() {
        for (line, ends) in [
            (format!("StoreBatch:7:{GOOD}"), true),
            ("StoreBatch:x:".to_owned(), true),
            (format!("StoreBatch:7;{GOOD}:{GOOD}"), false),
            ("StoreBatch:7".to_owned(), false),
            (format!("StoreRows:7:{GOOD}"), false),
        ] {
            assert_eq!(ends_connection(line.as_bytes()), ends, "{line}");
        }
    }

    #[test]
    fn every_line_is_what_the_document_says() {
        let good = || vec![bet(GOOD).unwrap()];
        let (either, invalid): (&[_], &[_]) = (&["agency", "invalid"], &["invalid"]);
        let error = Line::Malformed("Error:", either);
        let store = Line::Malformed("StoreResponse:1", &[]);
        let rows = Line::Malformed("StoreRowsResponse:2;0;0000000000000000;", invalid);
        for (line, is) in [
            (format!("StoreBet:7;{GOOD}"), Line::Of(7, Packet::Store(good()))),
            (format!("StoreBatch:0007:{GOOD}"), Line::Of(7, Packet::Store(good()))),
            (format!("StoreBatch:7;{GOOD}"), Line::Of(7, Packet::Store(good()))),
            (format!("StoreRows:7;1:{GOOD}"), Line::Of(7, Packet::StoreRows(1, good()))),
            (format!("StoreBet:7:{GOOD}"), store.clone()),
            (format!("StoreBet:7;{GOOD}:{GOOD}"), store.clone()),
            (format!("StoreBatch:7;{GOOD}:"), store),
            (format!("StoreRows:7;0:{GOOD}"), rows.clone()),
            (format!("StoreRows:7;1;1:{GOOD}"), rows.clone()),
            ("StoreRows:7;1".into(), rows),
            ("AgencyClose:7".into(), Line::Of(7, Packet::Close(None))),
            ("AgencyClose:7;3".into(), Line::Of(7, Packet::Close(Some(3)))),
            ("AgencyClose:7;".into(), Line::Malformed("AgencyCloseResponse:2;", invalid)),
            ("AgencyClose:7:1;".into(), Line::Malformed("AgencyCloseResponse:2;", either)),
            ("AgencyClose:1".repeat(6_000), Line::Malformed("Error:", invalid)),
            ("AgencyClose:100001".into(), error.clone()),
            ("AgencyStatus:00000000007".into(), error.clone()),
            ("AgencyStatus:7".into(), Line::Of(7, Packet::Status)),
            ("WinnersRequest:7".into(), Line::Of(7, Packet::Winners)),
            ("WinnersRequest:+7".into(), error),
            ("storebet:7".into(), Line::Unknown),
            (String::new(), Line::Unknown),
        ] {
            assert_eq!(read(line.as_bytes(), AGENCIES_MAX), is, "{line}");
        }
    }

    #[test]
    fn every_field_has_its_rule() {
        let name = |bytes: usize| "é".repeat(bytes / 2) + &"a".repeat(bytes % 2);
        for (first, document, birthdate, number, is_right) in [
            (name(100).as_str(), "aZ9", "2000-02-29", "0009999", true),
            (name(101).as_str(), "1", "2000-01-01", "7", false),
            ("", "1", "2000-01-01", "7", false),
            ("a\tb", "1", "2000-01-01", "7", false),
            ("a\u{85}", "1", "2000-01-01", "7", false),
            ("a\u{7f}", "1", "2000-01-01", "7", false),
            ("=1+1,\"\u{a0}", "12345678901234567890", "0001-12-31", "00000000000000000000", true),
            ("a", "123456789012345678901", "2000-01-01", "7", false),
            ("a", "é", "2000-01-01", "7", false),
            ("a", "", "2000-01-01", "7", false),
            ("a", "1", "1900-02-29", "7", false),
            ("a", "1", "2024-02-29", "7", true),
            ("a", "1", "2000-04-31", "7", false),
            ("a", "1", "0000-01-01", "7", false),
            ("a", "1", "2000-1-001", "7", false),
            ("a", "1", "2000-13-01", "7", false),
            ("a", "1", "2000-01-01", "10000", false),
            ("a", "1", "2000-01-01", "000000000000000000000", false),
            ("a", "1", "2000-01-01", "7\r", false),
        ] {
            let text = format!("{first};b;{document};{birthdate};{number}");
            assert_eq!(bet(&text).is_some(), is_right, "{text:?}");
        }
        assert_eq!(digits("18446744073709551616", 20), None);
    }
}
