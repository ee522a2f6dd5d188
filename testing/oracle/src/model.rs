//! What a server owes to each line, by PROTOCOL.md and by what it was sent before: rows, digest and
//! state of every agency. Shares no code with the server.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::packet::{self, Bet, Line, Packet};
use super::rows::RowSet;

/// The answer that is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    start: String,
    /// One of these comes next, and then a blank and a reason; nothing comes if there are none.
    words: &'static [&'static str],
}

impl Wanted {
    fn exactly(answer: impl Into<String>) -> Self {
        Self { start: answer.into(), words: &[] }
    }

    /// Whether `answer` is it.
    #[must_use]
    pub fn fits(&self, answer: &str) -> bool {
        let Some(rest) = answer.strip_prefix(&self.start) else { return false };
        match (self.words, rest.split_once(' ')) {
            ([], _) => rest.is_empty(),
            (words, Some((word, reason))) => words.contains(&word) && !reason.is_empty(),
            _ => false,
        }
    }
}

/// What a server does with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answers this.
    Answers(Wanted),
    /// Answers nothing.
    Silent,
    /// Lets its client wait for the draw.
    Waits,
}

/// What is stored of an agency.
#[derive(Debug, Clone, Copy, Default)]
struct Agency {
    rows: u64,
    digest: u64,
    has_closed: bool,
}

impl Agency {
    fn told(&self) -> String {
        format!("{};{:016x}", self.rows, self.digest)
    }
}

/// The agencies that one connection alone names.
#[derive(Debug, Default)]
pub struct Agencies(HashMap<u32, Agency>);

impl Agencies {
    /// How many rows are stored of `agency`.
    #[must_use]
    pub fn rows(&self, agency: u32) -> u64 {
        self.0.get(&agency).map_or(0, |agency| agency.rows)
    }

    /// What a server does with `line`, which comes behind all that were taken before. What it
    /// stores goes to `stored`.
    pub fn take(&mut self, line: &[u8], stored: &mut RowSet) -> Effect {
        let (number, packet) = match packet::read(line) {
            Line::Of(number, packet) => (number, packet),
            Line::PacketError(start, words) => {
                return Effect::Answers(Wanted { start: start.to_owned(), words });
            }
            Line::Unknown => return Effect::Answers(Wanted::exactly("Error:unknown packet")),
        };
        let agency = self.0.entry(number).or_default();
        Effect::Answers(match packet {
            Packet::Winners => return Effect::Waits,
            Packet::Close(None) => {
                agency.has_closed = true;
                return Effect::Silent;
            }
            Packet::Close(Some(rows)) => close(agency, rows),
            Packet::Status => {
                let state = if agency.has_closed { "closed" } else { "open" };
                Wanted::exactly(format!("AgencyStatusResponse:{};{state}", agency.told()))
            }
            Packet::Store(_) if agency.has_closed => Wanted::exactly("StoreResponse:1"),
            Packet::Store(bets) => {
                append(number, agency, &bets, stored);
                Wanted::exactly("StoreResponse:0")
            }
            Packet::StoreRows(first, bets) => store_rows(number, agency, first, &bets, stored),
        })
    }
}

fn close(agency: &mut Agency, rows: u64) -> Wanted {
    if rows != agency.rows {
        return Wanted { start: "AgencyCloseResponse:2;".to_owned(), words: &["short"] };
    }
    agency.has_closed = true;
    Wanted::exactly("AgencyCloseResponse:0")
}

fn store_rows(
    number: u32,
    agency: &mut Agency,
    first: u64,
    bets: &[Bet<'_>],
    stored: &mut RowSet,
) -> Wanted {
    let refused = |agency: &Agency, words| Wanted {
        start: format!("StoreRowsResponse:2;{};", agency.told()),
        words,
    };
    let is_there = first.saturating_add(bets.len() as u64 - 1) <= agency.rows;
    if !is_there {
        // Which of two reasons is told, the document leaves open.
        match (agency.has_closed, first.cmp(&(agency.rows + 1))) {
            (false, std::cmp::Ordering::Equal) => append(number, agency, bets, stored),
            (true, std::cmp::Ordering::Equal) => return refused(agency, &["closed"]),
            (false, std::cmp::Ordering::Greater) => return refused(agency, &["gap"]),
            (false, std::cmp::Ordering::Less) => return refused(agency, &["overlap"]),
            (true, std::cmp::Ordering::Greater) => return refused(agency, &["closed", "gap"]),
            (true, std::cmp::Ordering::Less) => return refused(agency, &["closed", "overlap"]),
        }
    }
    Wanted::exactly(format!("StoreRowsResponse:0;{}", agency.told()))
}

fn append(number: u32, agency: &mut Agency, bets: &[Bet<'_>], stored: &mut RowSet) {
    for bet in bets {
        let (texts, chosen) = (bet.texts, bet.number.to_string());
        let row = format!("{};{chosen}", texts.join(";"));
        agency.digest = xxh3_64_with_seed(row.as_bytes(), agency.digest);
        agency.rows += 1;
        stored.push(number, texts.into_iter().chain([chosen.as_str()]).map(str::as_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "Ana;Paz;30876370;1990-05-17;7574";
    const LEO: &str = "Leo;Sol;24807259;1985-11-02;0008";

    /// The examples of PROTOCOL.md: each line is owed its answer, and not the one of another.
    #[test]
    fn answers_are_those_of_the_document() {
        let (mut agencies, mut stored) = (Agencies::default(), RowSet::default());
        for (line, answer) in [
            ("AgencyStatus:1".to_owned(), "AgencyStatusResponse:0;0000000000000000;open"),
            (format!("StoreRows:1;1:{ANA}:{LEO}"), "StoreRowsResponse:0;2;dd29c9437ef72067"),
            (format!("StoreRows:1;1:{ANA}:{LEO}"), "StoreRowsResponse:0;2;dd29c9437ef72067"),
            (format!("StoreRows:1;2:{LEO}"), "StoreRowsResponse:0;2;dd29c9437ef72067"),
            (format!("StoreRows:1;4:{ANA}"), "StoreRowsResponse:2;2;dd29c9437ef72067;gap x"),
            (
                format!("StoreRows:1;2:{LEO}:{ANA}"),
                "StoreRowsResponse:2;2;dd29c9437ef72067;overlap x",
            ),
            (format!("StoreBet:2;{ANA}"), "StoreResponse:0"),
            (format!("StoreBatch:2;{ANA}:Leo"), "StoreResponse:1"),
            ("AgencyClose:1;1".to_owned(), "AgencyCloseResponse:2;short x"),
            ("AgencyClose:1;2".to_owned(), "AgencyCloseResponse:0"),
            ("AgencyClose:1;2".to_owned(), "AgencyCloseResponse:0"),
            (format!("StoreRows:1;3:{ANA}"), "StoreRowsResponse:2;2;dd29c9437ef72067;closed x"),
            (format!("StoreRows:1;1:{ANA}"), "StoreRowsResponse:0;2;dd29c9437ef72067"),
            (format!("StoreBet:1;{ANA}"), "StoreResponse:1"),
            ("AgencyStatus:1".to_owned(), "AgencyStatusResponse:2;dd29c9437ef72067;closed"),
            ("StoreRows:1;x:".to_owned(), "StoreRowsResponse:2;0;0000000000000000;invalid x"),
            ("AgencyStatus:".to_owned(), "Error:agency x"),
            ("Hello".to_owned(), "Error:unknown packet"),
        ] {
            let Effect::Answers(wanted) = agencies.take(line.as_bytes(), &mut stored) else {
                panic!("{line} has an answer")
            };
            assert!(wanted.fits(answer), "{line}: {wanted:?}");
            assert!(!wanted.fits(&format!("{answer}x")) || answer.ends_with(" x"), "{line}");
            assert!(!wanted.fits("StoreResponse:2") && !wanted.fits(""), "{line}");
        }
        assert_eq!(agencies.take(b"AgencyClose:2", &mut stored), Effect::Silent);
        assert_eq!(agencies.take(b"WinnersRequest:2", &mut stored), Effect::Waits);
        assert_eq!((agencies.rows(1), agencies.rows(2), stored.count), (2, 1, 3));
    }

    #[test]
    fn a_reason_has_its_word_and_says_something() {
        let wanted = Wanted { start: "Error:".to_owned(), words: &["agency", "invalid"] };
        for (answer, fits) in [
            ("Error:agency 7", true),
            ("Error:invalid x y", true),
            ("Error:agency", false),
            ("Error:agency ", false),
            ("Error:busy x", false),
            ("Error:", false),
        ] {
            assert_eq!(wanted.fits(answer), fits, "{answer}");
        }
    }
}
