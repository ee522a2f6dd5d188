//! What a server owes to each line, by PROTOCOL.md and by what it was sent before: rows, digest and
//! state of every agency. Shares no code with the server.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::head::Head;
use super::packet::{self, Bet, Line, Packet};

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
    head: Head,
    has_closed: bool,
}

/// The agencies that one connection alone names.
#[derive(Debug, Clone, Default)]
pub struct Agencies(HashMap<u32, Agency>);

impl Agencies {
    /// How many rows are stored of `agency`.
    #[must_use]
    pub fn rows(&self, agency: u32) -> u64 {
        self.0.get(&agency).map_or(0, |agency| agency.head.rows)
    }

    /// What is stored of each agency of which anything is.
    pub fn heads(&self) -> impl Iterator<Item = (u32, Head)> {
        let heads = self.0.iter().map(|(number, agency)| (*number, agency.head));
        heads.filter(|(_, head)| head.rows > 0)
    }

    /// What a server does with `line`, which comes after all that were taken before.
    pub fn take(&mut self, line: &[u8]) -> Effect {
        let (number, packet) = match packet::read(line) {
            Line::Of(number, packet) => (number, packet),
            Line::Malformed(start, words) => {
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
            Packet::Close(Some(rows)) if rows == agency.head.rows => {
                agency.has_closed = true;
                Wanted::exactly("AgencyCloseResponse:0")
            }
            Packet::Close(Some(_)) => {
                Wanted { start: "AgencyCloseResponse:2;".to_owned(), words: &["short"] }
            }
            Packet::Status => {
                let state = if agency.has_closed { "closed" } else { "open" };
                Wanted::exactly(format!("AgencyStatusResponse:{};{state}", agency.head))
            }
            Packet::Store(_) if agency.has_closed => Wanted::exactly("StoreResponse:1"),
            Packet::Store(bets) => {
                agency.append(&bets);
                Wanted::exactly("StoreResponse:0")
            }
            Packet::StoreRows(first, bets) => agency.store_rows(first, &bets),
        })
    }
}

impl Agency {
    fn store_rows(&mut self, first: u64, bets: &[Bet<'_>]) -> Wanted {
        let is_there = first.saturating_add(bets.len() as u64 - 1) <= self.head.rows;
        // The document leaves open which of two reasons is given.
        let words: &[_] = match (self.has_closed, first.cmp(&(self.head.rows + 1))) {
            _ if is_there => &[],
            (false, Ordering::Equal) => {
                self.append(bets);
                &[]
            }
            (true, Ordering::Equal) => &["closed"],
            (false, Ordering::Greater) => &["gap"],
            (false, Ordering::Less) => &["overlap"],
            (true, Ordering::Greater) => &["closed", "gap"],
            (true, Ordering::Less) => &["closed", "overlap"],
        };
        match words {
            [] => Wanted::exactly(format!("StoreRowsResponse:0;{}", self.head)),
            _ => Wanted { start: format!("StoreRowsResponse:2;{};", self.head), words },
        }
    }

    fn append(&mut self, bets: &[Bet<'_>]) {
        for Bet { texts: [first, last, document, birthdate], number } in bets {
            self.head.push(&[first, last, document, birthdate, number.to_string().as_str()]);
        }
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
        let mut agencies = Agencies::default();
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
            let Effect::Answers(wanted) = agencies.take(line.as_bytes()) else {
                panic!("{line} has an answer")
            };
            assert!(wanted.fits(answer), "{line}: {wanted:?}");
            assert!(!wanted.fits(&format!("{answer}x")) || answer.ends_with(" x"), "{line}");
            assert!(!wanted.fits("StoreResponse:2") && !wanted.fits(""), "{line}");
        }
        assert_eq!(agencies.take(b"AgencyClose:2"), Effect::Silent);
        assert_eq!(agencies.take(b"WinnersRequest:2"), Effect::Waits);
        assert_eq!((agencies.rows(1), agencies.rows(2), agencies.heads().count()), (2, 1, 2));
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
