//! An intruder sends what must be refused: bets after the close, closes that declare other rows,
//! agencies that do not take part, lines that are no packets and lines without an end.
//!
//! **Invariant**: the servers do not store it. If they do, that is found by the answer, or by the
//! count at the end: no agency has such a bet.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::member::Process;
use crate::answer_checker::Sent;
use crate::environment::Lottery;
use harness::raw_connection::RawConnection;
use harness::rng::Rng;

/// A bet that wins, and that is in no agency's file.
const BET: &str = "Nadie;Ninguno;666;1999-12-31;7574";

/// Longer than any packet may be.
const LINE_BYTES: usize = 70_000;

/// How long a whole attempt may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What is sent in some forms, and for each form how every right answer starts. `BET`, `AGENCY`, the
/// next row, the `END` (the second row behind all rows), the `HEAD` of all rows and a `LONG` line are
/// put in.
struct Attempts {
    name: &'static str,
    forms: &'static [(&'static str, &'static [&'static str])],
}

const LATE: Attempts = Attempts {
    name: "bets sent after the close",
    forms: &[
        ("StoreBet:AGENCY;BET", &["StoreResponse:1"]),
        ("StoreBatch:AGENCY:BET", &["StoreResponse:1"]),
        ("StoreBatch:AGENCY;BET", &["StoreResponse:1"]),
        (
            "StoreRows:AGENCY;LATE:BET",
            &[
                "StoreRowsResponse:2;HEAD;closed ",
                "StoreRowsResponse:2;HEAD;drawn ",
                "StoreRowsResponse:1;",
            ],
        ),
    ],
};
const OTHER_CLOSE: Attempts = Attempts {
    name: "close with other rows",
    forms: &[(
        "AgencyClose:AGENCY;END",
        &["AgencyCloseResponse:2;short ", "AgencyCloseResponse:1;"],
    )],
};
const BEYOND: Attempts = Attempts {
    name: "rows sent beyond the next",
    forms: &[("StoreRows:AGENCY;END:BET", &["StoreRowsResponse:2;", "StoreRowsResponse:1;"])],
};
const STRANGER: Attempts = Attempts {
    name: "unknown agency",
    forms: &[
        ("StoreRows:AGENCY;1:BET", &["StoreRowsResponse:2;0;0000000000000000;agency "]),
        ("StoreBet:AGENCY;BET", &["StoreResponse:1"]),
        ("AgencyClose:AGENCY;0", &["AgencyCloseResponse:2;agency "]),
        ("AgencyClose:AGENCY", &["Error:agency "]),
        ("WinnersRequest:AGENCY", &["Error:agency "]),
    ],
};
const INVALID: &str = "StoreRowsResponse:2;0;0000000000000000;invalid ";
const NONSENSE: Attempts = Attempts {
    name: "nonsense sent",
    forms: &[
        ("StoreRows:AGENCY;NEXT:BET:BET;7", &[INVALID]),
        ("StoreRows:AGENCY;NEXT:BET:Nadie;;666;1999-12-31;1", &[INVALID]),
        ("StoreBatch:AGENCY:BET:", &["StoreResponse:1"]),
        ("LONG", &["Error:"]),
        ("\u{1}BET\u{fffd}", &["Error:"]),
    ],
};

/// An intruder.
#[derive(Debug)]
pub struct Intruder {
    /// The lottery that it attacks.
    pub lottery: Arc<Lottery<Process>>,
    /// What decides.
    pub rng: Rng,
}

/// Whether `answer` is one of the right ones to `packet`.
fn check(packet: &str, answer: &str, right: &[String]) -> Result<(), String> {
    if right.iter().any(|start| answer.starts_with(start.as_str())) {
        return Ok(());
    }
    let packet: String = packet.chars().take(80).collect();
    Err(format!("{packet:?} got {answer:?}, not one of {right:?}"))
}

impl Intruder {
    /// Sends until the faults are over.
    pub async fn run(mut self) {
        let faults_over = self.lottery.faults_over.clone();
        loop {
            tokio::select! {
                () = faults_over.cancelled() => return,
                () = sleep(self.rng.millis(10, 250)) => {}
            }
            let servers = self.lottery.registry.count() as u64;
            let place = self.rng.between(0, servers.saturating_sub(1)) as usize;
            if self.lottery.registry.available_since(place).is_none() {
                // It would be waited for, and nothing sent to the others.
                continue;
            }
            // A server that is dead, or dies meanwhile, answers nothing: that is no violation.
            let _ = match self.rng.between(0, 9) {
                0 => timeout(LIMIT, self.leave_in_the_middle(place)).await.ok(),
                _ => timeout(LIMIT, self.attempt(place)).await.ok(),
            };
        }
    }

    /// Puts the values of `agency` into a text of [`Attempts`].
    fn filled(&self, text: &str, agency: usize) -> String {
        let expected =
            agency.checked_sub(1).and_then(|index| self.lottery.checker.expected().get(index));
        let (rows, digest) =
            expected.map_or((0, ""), |expected| (expected.rows(), expected.digest()));
        [
            ("LONG", "x".repeat(LINE_BYTES)),
            ("AGENCY", agency.to_string()),
            ("NEXT", (self.lottery.checker.acknowledged(agency) + 1).to_string()),
            ("LATE", (rows + 1).to_string()),
            ("END", (rows + 2).to_string()),
            ("HEAD", format!("{rows};{digest}")),
            ("BET", BET.to_owned()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    async fn attempt(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(address) = self.lottery.registry.address(place) else { return Ok(()) };
        let agencies = self.lottery.checker.expected().len();
        let mut agency = self.rng.between(1, agencies as u64) as usize;
        let attempts = match self.rng.between(0, 4) {
            0 => {
                agency = agencies + 1;
                STRANGER
            }
            1 => NONSENSE,
            _ if self.lottery.checker.is_closed(agency) => LATE,
            _ if self.rng.chance(50) => OTHER_CLOSE,
            _ => BEYOND,
        };
        let form = self.rng.between(0, attempts.forms.len() as u64 - 1) as usize;
        let Some((packet, right)) = attempts.forms.get(form) else { return Ok(()) };
        let packet = self.filled(packet, agency);
        let right: Vec<String> = right.iter().map(|start| self.filled(start, agency)).collect();
        self.lottery.report.fault(attempts.name);
        let mut connection = RawConnection::open(address).await?;
        let sent = Sent::now(place, &packet);
        let answer = connection.ask(&packet).await?;
        for checked in [check(&packet, &answer, &right), self.lottery.checker.check_time(&sent)] {
            if let Err(wrong) = checked {
                self.lottery.report.violation(format!("{}: {wrong}", attempts.name));
            }
        }
        Ok(())
    }

    /// Sends the next row, which is right except that its line end never comes.
    async fn leave_in_the_middle(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(address) = self.lottery.registry.address(place) else { return Ok(()) };
        let agency = self.rng.between(1, self.lottery.checker.expected().len() as u64) as usize;
        let mut connection = RawConnection::open(address).await?;
        self.lottery.report.fault("packet without its end");
        connection.send(self.filled("StoreRows:AGENCY;NEXT:BET", agency)).await?;
        connection.finish().await?;
        let answer = connection.end().await?;
        if !answer.is_empty() {
            let answer = String::from_utf8_lossy(&answer);
            self.lottery.report.violation(format!("a packet without its end got {answer:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_say_it_was_stored_are_found() {
        for attempts in [LATE, OTHER_CLOSE, BEYOND, STRANGER, NONSENSE] {
            for (packet, right) in attempts.forms {
                let right: Vec<String> = right.iter().copied().map(str::to_owned).collect();
                assert_eq!(check(packet, &right[0], &right), Ok(()), "{packet}");
                for stored in
                    ["StoreResponse:0", "StoreRowsResponse:0;2;d2", "AgencyCloseResponse:0"]
                {
                    assert!(check(packet, stored, &right).is_err(), "{packet}");
                }
            }
        }
    }
}
