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
    words: Vec<&'static str>,
}

impl Wanted {
    fn exactly(answer: impl Into<String>) -> Self {
        Self { start: answer.into(), words: Vec::new() }
    }

    /// Whether `answer` is it.
    #[must_use]
    pub fn fits(&self, answer: &str) -> bool {
        let Some(rest) = answer.strip_prefix(&self.start) else { return false };
        match (self.words.as_slice(), rest.split_once(' ')) {
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
#[derive(Debug, Clone, Default)]
struct Agency {
    head: Head,
    has_closed: bool,
    /// The documents of the bets that win, in the order of the rows.
    winners: Vec<String>,
}

/// The agencies of a lottery, as the lines made them that were taken so far.
#[derive(Debug, Clone)]
pub struct Agencies {
    agencies: HashMap<u32, Agency>,
    /// Its agencies are those from 1 to this one.
    last: u32,
    /// No bet wins without one.
    winning_number: Option<u64>,
    is_drawn: bool,
}

/// Every agency that a line can name, and no winners.
impl Default for Agencies {
    fn default() -> Self {
        let agencies = HashMap::new();
        Self { agencies, last: packet::AGENCIES_MAX, winning_number: None, is_drawn: false }
    }
}

impl Agencies {
    /// The agencies from 1 to `last`, of whose bets those win that have `winning_number`.
    #[must_use]
    pub fn new(last: u32, winning_number: u64) -> Self {
        Self { last, winning_number: Some(winning_number), ..Self::default() }
    }

    /// What is stored of `agency`.
    #[must_use]
    pub fn head(&self, agency: u32) -> Head {
        self.agencies.get(&agency).map_or_else(Head::default, |agency| agency.head)
    }

    /// What is stored of each agency of which anything is.
    pub fn heads(&self) -> impl Iterator<Item = (u32, Head)> {
        let heads = self.agencies.iter().map(|(number, agency)| (*number, agency.head));
        heads.filter(|(_, head)| head.rows > 0)
    }

    /// How many agencies have closed.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.agencies.values().filter(|agency| agency.has_closed).count()
    }

    /// Holds the draw if it is due. Returns whether it was: once in a lottery.
    pub fn draw(&mut self) -> bool {
        let is_due = !self.is_drawn && self.closed() == self.last as usize;
        self.is_drawn |= is_due;
        is_due
    }

    /// What a server does with `line`, which comes after all that were taken before.
    pub fn take(&mut self, line: &[u8]) -> Effect {
        let (number, packet) = match packet::read(line, self.last) {
            Line::Of(number, packet) => (number, packet),
            Line::Malformed(start, words) => {
                let wanted = Wanted { start: start.to_owned(), words: words.to_vec() };
                return Effect::Answers(wanted);
            }
            Line::Unknown => return Effect::Answers(Wanted::exactly("Error:unknown packet")),
        };
        let agency = self.agencies.entry(number).or_default();
        let end = match (self.is_drawn, agency.has_closed) {
            (true, _) => Some("drawn"),
            (false, true) => Some("closed"),
            (false, false) => None,
        };
        Effect::Answers(match packet {
            Packet::Winners if !self.is_drawn => return Effect::Waits,
            Packet::Winners => {
                Wanted::exactly(format!("WinnersResponse:{}", agency.winners.join(";")))
            }
            Packet::Close(None) => {
                agency.has_closed = true;
                return Effect::Silent;
            }
            Packet::Close(Some(rows)) if rows == agency.head.rows => {
                agency.has_closed = true;
                Wanted::exactly("AgencyCloseResponse:0")
            }
            Packet::Close(Some(_)) => {
                Wanted { start: "AgencyCloseResponse:2;".to_owned(), words: vec!["short"] }
            }
            Packet::Status => {
                let state = end.unwrap_or("open");
                Wanted::exactly(format!("AgencyStatusResponse:{};{state}", agency.head))
            }
            Packet::Store(_) if end.is_some() => Wanted::exactly("StoreResponse:1"),
            Packet::Store(bets) => {
                agency.append(&bets, self.winning_number);
                Wanted::exactly("StoreResponse:0")
            }
            Packet::StoreRows(first, bets) => {
                let next = agency.head.rows + 1;
                let is_there = first.saturating_add(bets.len() as u64 - 1) < next;
                let place = match first.cmp(&next) {
                    Ordering::Less => Some("overlap"),
                    Ordering::Equal => None,
                    Ordering::Greater => Some("gap"),
                };
                // The document leaves open which of two reasons is given.
                let words: Vec<_> = end.into_iter().chain(place).collect();
                if words.is_empty() {
                    agency.append(&bets, self.winning_number);
                }
                if is_there || words.is_empty() {
                    Wanted::exactly(format!("StoreRowsResponse:0;{}", agency.head))
                } else {
                    Wanted { start: format!("StoreRowsResponse:2;{};", agency.head), words }
                }
            }
        })
    }
}

impl Agency {
    fn append(&mut self, bets: &[Bet<'_>], winning_number: Option<u64>) {
        for Bet { texts: [first, last, document, birthdate], number } in bets {
            self.head.push(&[first, last, document, birthdate, number.to_string().as_str()]);
            if Some(*number) == winning_number {
                self.winners.push((*document).to_owned());
            }
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
        assert_eq!(
            (agencies.head(1).rows, agencies.head(2).rows, agencies.heads().count()),
            (2, 1, 2)
        );
    }

    #[test]
    fn the_draw_is_held_once_all_have_closed() {
        let mut agencies = Agencies::new(1, 8);
        agencies.take(format!("StoreBatch:1;{ANA}:{LEO}").as_bytes());
        assert!(!agencies.draw());
        agencies.take(b"AgencyClose:1");
        assert!(agencies.draw() && !agencies.draw());
        for (line, answer) in [
            ("WinnersRequest:1", "WinnersResponse:24807259"),
            ("AgencyStatus:1", "AgencyStatusResponse:2;dd29c9437ef72067;drawn"),
            (
                "StoreRows:1;3:Leo;Sol;1;2000-01-01;7",
                "StoreRowsResponse:2;2;dd29c9437ef72067;drawn x",
            ),
            ("AgencyClose:2", "Error:agency x"),
        ] {
            let Effect::Answers(wanted) = agencies.take(line.as_bytes()) else {
                panic!("{line} has an answer")
            };
            assert!(wanted.fits(answer), "{line}: {wanted:?}");
        }
    }

    #[test]
    fn a_reason_has_its_word_and_says_something() {
        let wanted = Wanted { start: "Error:".to_owned(), words: vec!["agency", "invalid"] };
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
