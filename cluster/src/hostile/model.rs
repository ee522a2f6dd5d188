//! What PROTOCOL.md says about any line: which agency it names, whether it has an answer and of
//! which type, and which rows it stores. Written anew from the document, without the server's code.

use std::collections::HashMap;

use super::rows::RowSet;

/// The highest agency number that a line can name.
pub const AGENCIES_MAX: u32 = 100_000;

/// What a line is, by its type and its agency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// What comes back.
    pub answer: Answer,
    /// The agency that it names, if it names one.
    pub agency: Option<u32>,
}

/// What comes back to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `StoreResponse`.
    Store,
    /// `StoreRowsResponse`.
    StoreRows,
    /// `AgencyCloseResponse`.
    Close,
    /// `AgencyStatusResponse` or `Error`.
    Status,
    /// `Error`.
    Error,
    /// Nothing: a plain close.
    Nothing,
    /// `WinnersResponse`, some time.
    Winners,
}

/// The nature of `line`.
#[must_use]
pub fn nature(line: &[u8]) -> Nature {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let (Some(name), Some(body)) = (parts.next(), parts.next()) else {
        return Nature { answer: Answer::Error, agency: None };
    };
    let first = body.split(|byte| b";:".contains(byte)).next().unwrap_or_default();
    let agency = number(first, 10).and_then(|agency| u32::try_from(agency).ok());
    let agency = agency.filter(|agency| (1..=AGENCIES_MAX).contains(agency));
    let is_alone = agency.is_some() && first.len() == body.len();
    let answer = match name {
        b"StoreBet" | b"StoreBatch" => Answer::Store,
        b"StoreRows" => Answer::StoreRows,
        b"AgencyClose" if body.contains(&b';') => Answer::Close,
        b"AgencyClose" if is_alone => Answer::Nothing,
        b"AgencyStatus" => Answer::Status,
        b"WinnersRequest" if is_alone => Answer::Winners,
        _ => Answer::Error,
    };
    Nature { answer, agency }
}

/// Plain digits, at most so many.
fn number(text: &[u8], digits_max: usize) -> Option<u64> {
    let is_plain = !text.is_empty() && text.len() <= digits_max;
    if !is_plain || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Answer {
    /// Whether `line` is a well-formed answer of this type.
    #[must_use]
    pub fn fits(self, line: &str) -> bool {
        let (name, body) = line.split_once(':').unwrap_or((line, ""));
        let fields: Vec<&str> = body.splitn(4, ';').collect();
        match (self, name) {
            (Self::Store, "StoreResponse") => matches!(body, "0" | "1"),
            (Self::StoreRows, "StoreRowsResponse") => match fields.as_slice() {
                ["0", rows, digest] => is_state(rows, digest),
                ["1" | "2", rows, digest, reason] => is_state(rows, digest) && !reason.is_empty(),
                _ => false,
            },
            (Self::Close, "AgencyCloseResponse") => {
                body == "0" || body.starts_with("1;") || body.starts_with("2;")
            }
            (Self::Status, "AgencyStatusResponse") => match fields.as_slice() {
                [rows, digest, "open" | "closed" | "drawn"] => is_state(rows, digest),
                _ => false,
            },
            (Self::Status | Self::Error, "Error") => !body.is_empty(),
            _ => false,
        }
    }
}

fn is_state(rows: &str, digest: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    number(rows.as_bytes(), 20).is_some() && digest.len() == 16 && digest.bytes().all(is_hex)
}

/// What the agencies have that one connection alone names.
#[derive(Debug, Default)]
pub struct Agencies {
    rows: HashMap<u32, u64>,
}

impl Agencies {
    /// How many rows are stored of `agency`.
    #[must_use]
    pub fn rows(&self, agency: u32) -> u64 {
        self.rows.get(&agency).copied().unwrap_or(0)
    }

    /// Takes note of `line`, which was acknowledged with `answer`: what it stored, if anything,
    /// goes to `stored`.
    ///
    /// # Errors
    /// It cannot have been: says why.
    pub fn acknowledge(
        &mut self,
        line: &[u8],
        answer: &str,
        stored: &mut RowSet,
    ) -> Result<(), String> {
        let nature = nature(line);
        let agency = nature.agency.ok_or("it names no agency, and was stored")?;
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8, and was stored")?;
        let body = text.split_once(':').map_or("", |(_, body)| body);
        let (first_row, bets) = match nature.answer {
            Answer::Store => (None, body.split_once([';', ':']).map_or("", |(_, bets)| bets)),
            _ => {
                let (head, bets) = body.split_once(':').unwrap_or((body, ""));
                let row = head.split_once(';').and_then(|(_, row)| number(row.as_bytes(), 20));
                (Some(row.ok_or("it has no first row, and was stored")?), bets)
            }
        };
        let count = bets.split(':').count() as u64;
        let before = self.rows(agency);
        let first_row = first_row.unwrap_or(before + 1);
        if first_row.saturating_add(count - 1) <= before {
            return self.agrees(agency, before, answer);
        }
        if first_row != before + 1 {
            return Err(format!("row {} comes next, and it was stored", before + 1));
        }
        self.rows.insert(agency, before + count);
        for bet in bets.split(':') {
            push(agency, bet, stored)?;
        }
        self.agrees(agency, before + count, answer)
    }

    /// An answer that tells how many rows are stored must tell this.
    fn agrees(&self, agency: u32, rows: u64, answer: &str) -> Result<(), String> {
        match answer.strip_prefix("StoreRowsResponse:0;") {
            Some(told) if !told.starts_with(&format!("{rows};")) => {
                Err(format!("agency {agency} has {rows} rows, and the answer is {answer}"))
            }
            _ => Ok(()),
        }
    }
}

fn push(agency: u32, bet: &str, stored: &mut RowSet) -> Result<(), String> {
    let fields: Vec<&str> = bet.split(';').collect();
    let &[first, last, document, birthdate, number_text] = fields.as_slice() else {
        return Err(format!("{bet:?} has {} fields, and was stored", fields.len()));
    };
    let number = number(number_text.as_bytes(), 20).filter(|number| *number <= 9_999);
    let number = number.ok_or_else(|| format!("{number_text:?} is no number, and was stored"))?;
    let number = number.to_string();
    stored.push(agency, [first, last, document, birthdate, &number].map(str::as_bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_nature() {
        for (line, answer, agency) in [
            ("StoreBet:7;a", Answer::Store, Some(7)),
            ("StoreBatch:0007:a", Answer::Store, Some(7)),
            ("StoreRows:7;1:a", Answer::StoreRows, Some(7)),
            ("StoreRows:x", Answer::StoreRows, None),
            ("AgencyClose:7", Answer::Nothing, Some(7)),
            ("AgencyClose:7;3", Answer::Close, Some(7)),
            ("AgencyClose:100001", Answer::Error, None),
            ("AgencyClose:7:", Answer::Error, Some(7)),
            ("AgencyClose:00000000007", Answer::Error, None),
            ("AgencyStatus:7", Answer::Status, Some(7)),
            ("WinnersRequest:7", Answer::Winners, Some(7)),
            ("WinnersRequest:0", Answer::Error, None),
            ("storebet:7", Answer::Error, Some(7)),
            ("", Answer::Error, None),
        ] {
            assert_eq!(nature(line.as_bytes()), Nature { answer, agency }, "{line}");
        }
    }

    #[test]
    fn answers_fit_their_lines_or_do_not() {
        let digest = "00000000000000ff";
        for (answer, line, fits) in [
            (Answer::Store, "StoreResponse:0".to_owned(), true),
            (Answer::Store, "StoreResponse:2".to_owned(), false),
            (Answer::Store, "Error:unknown packet".to_owned(), false),
            (Answer::StoreRows, format!("StoreRowsResponse:0;3;{digest}"), true),
            (Answer::StoreRows, format!("StoreRowsResponse:2;3;{digest};gap a;b"), true),
            (Answer::StoreRows, format!("StoreRowsResponse:2;3;{digest}"), false),
            (Answer::Close, "AgencyCloseResponse:2;short".to_owned(), true),
            (Answer::Status, format!("AgencyStatusResponse:3;{digest};open"), true),
            (Answer::Status, "Error:agency".to_owned(), true),
            (Answer::Error, "Error:".to_owned(), false),
        ] {
            assert_eq!(answer.fits(&line), fits, "{line}");
        }
    }

    #[test]
    fn what_was_stored_is_known_row_by_row() {
        let (mut agencies, mut stored) = (Agencies::default(), RowSet::default());
        let bet = "Ana;Paz;1;2000-01-01;007";
        let mut acknowledge = |line: String, answer: &str| {
            let answer = format!("StoreRowsResponse:0;{answer};");
            agencies.acknowledge(line.as_bytes(), &answer, &mut stored)
        };
        assert_eq!(acknowledge(format!("StoreRows:7;1:{bet}:{bet}"), "2"), Ok(()));
        assert_eq!(acknowledge(format!("StoreRows:7;2:{bet}"), "2"), Ok(()));
        assert!(acknowledge(format!("StoreRows:7;4:{bet}"), "4").is_err());
        assert!(acknowledge(format!("StoreRows:7;3:{bet}"), "4").is_err());
        assert!(acknowledge("StoreRows:7;4:a;b".to_owned(), "4").is_err());
        let mut wanted = RowSet::default();
        for _ in 0..3 {
            wanted.push(7, ["Ana", "Paz", "1", "2000-01-01", "7"].map(str::as_bytes));
        }
        assert_eq!(stored, wanted);
    }
}
