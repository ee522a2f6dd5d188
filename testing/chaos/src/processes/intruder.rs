//! Somebody who sends what must be refused: bets after the close, closes that declare other rows,
//! agencies that do not take part, lines that are no packets and lines without an end.
//!
//! **Invariant**: nothing of it may be stored. Whatever is, is found by the answer, or by the
//! count at the end: no agency has such a bet.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer_checker::{AnswerChecker, Sent};
use crate::registry::ServerRegistry;
use crate::report::Report;
use harness::raw_connection::RawConnection;
use harness::rng::Rng;

/// A bet that wins, and that nobody made.
const BET: &str = "Nadie;Ninguno;666;1999-12-31;7574";

/// Longer than any packet may be.
const LINE_BYTES: usize = 70_000;

/// How long whatever is sent may take.
const LIMIT: Duration = Duration::from_secs(20);

/// An intruder.
#[derive(Debug)]
pub struct Intruder {
    /// Where the servers are.
    pub registry: ServerRegistry,
    /// Who knows how far the agencies are, and sees the answers.
    pub checker: AnswerChecker,
    /// What decides.
    pub rng: Rng,
    /// What was done and found.
    pub report: Report,
    /// When it ends.
    pub faults_over: CancellationToken,
}

/// What is sent, and how every answer that is right starts.
struct Attempt {
    what: &'static str,
    packet: String,
    right: Vec<String>,
}

impl Attempt {
    fn new(what: &'static str, packet: String, right: &[&str]) -> Self {
        Self { what, packet, right: right.iter().map(|&start| start.to_owned()).collect() }
    }

    fn check(&self, answer: &str) -> Result<(), String> {
        let Self { packet, right, .. } = self;
        if right.iter().any(|start| answer.starts_with(start.as_str())) {
            return Ok(());
        }
        let packet: String = packet.chars().take(80).collect();
        Err(format!("{packet:?} got {answer:?}, not one of {right:?}"))
    }
}

impl Intruder {
    /// Sends until the faults are over.
    pub async fn run(mut self) {
        let faults_over = self.faults_over.clone();
        loop {
            tokio::select! {
                () = faults_over.cancelled() => return,
                () = sleep(self.rng.millis(10, 250)) => {}
            }
            // What waits for an answer waits on: how long that takes is looked at, too.
            self.intrude().await;
        }
    }

    async fn intrude(&mut self) {
        let places = self.registry.addresses().len() as u64;
        let place = self.rng.between(0, places.saturating_sub(1)) as usize;
        if self.registry.awake_since(place).is_none() {
            // It would be waited for, and the others would have peace.
            return;
        }
        // A server that is dead, or dies meanwhile, answers nothing: that is no fault of it.
        let _ = match self.rng.between(0, 9) {
            0 => timeout(LIMIT, self.leave_in_the_middle(place)).await.ok(),
            _ => timeout(LIMIT, self.attempt(place)).await.ok(),
        };
    }

    async fn attempt(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(address) = self.registry.address(place) else { return Ok(()) };
        let agencies = self.checker.expected().len() as u64;
        let agency = self.rng.between(1, agencies) as usize;
        let attempt = match self.rng.between(0, 4) {
            0 => self.stranger(agencies + 1),
            1 => self.nonsense(agency),
            _ if self.checker.is_closed(agency) => self.late(agency),
            _ => self.misplaced(agency),
        };
        self.report.fault(attempt.what);
        let mut connection = RawConnection::open(address).await?;
        let sent = Sent::now(place, &attempt.packet);
        let answer = connection.ask(&attempt.packet).await?;
        for checked in [attempt.check(&answer), self.checker.check_time(&sent)] {
            if let Err(wrong) = checked {
                self.report.violation(format!("{}: {wrong}", attempt.what));
            }
        }
        Ok(())
    }

    /// What comes after the close, or after the draw.
    fn late(&mut self, agency: usize) -> Attempt {
        let Some(expected) = self.checker.expected().get(agency - 1) else {
            return self.nonsense(agency);
        };
        let (rows, digest) = (expected.rows(), expected.digest().to_owned());
        let next = rows + 1;
        let refused = |word| format!("StoreRowsResponse:2;{rows};{digest};{word} ");
        let what = "bets sent after the close";
        match self.rng.between(0, 4) {
            0 => Attempt::new(what, format!("StoreBet:{agency};{BET}"), &["StoreResponse:1"]),
            1 => Attempt::new(what, format!("StoreBatch:{agency}:{BET}"), &["StoreResponse:1"]),
            2 => Attempt::new(what, format!("StoreBatch:{agency};{BET}"), &["StoreResponse:1"]),
            _ => {
                let right = [refused("closed"), refused("drawn"), "StoreRowsResponse:1;".into()];
                Attempt {
                    what,
                    packet: format!("StoreRows:{agency};{next}:{BET}"),
                    right: right.into(),
                }
            }
        }
    }

    /// Rows that are not the next ones, of an agency that may be open.
    fn misplaced(&mut self, agency: usize) -> Attempt {
        let expected = self.checker.expected().get(agency - 1);
        let beyond = expected.map_or(0, |expected| expected.rows()) + 2;
        if self.rng.chance(50) {
            let packet = format!("AgencyClose:{agency};{beyond}");
            let right = ["AgencyCloseResponse:2;short ", "AgencyCloseResponse:1;"];
            return Attempt::new("close with other rows", packet, &right);
        }
        let packet = format!("StoreRows:{agency};{beyond}:{BET}");
        let right = ["StoreRowsResponse:2;", "StoreRowsResponse:1;"];
        Attempt::new("rows sent beyond the next", packet, &right)
    }

    /// An agency that does not take part.
    fn stranger(&mut self, agency: u64) -> Attempt {
        let none = "StoreRowsResponse:2;0;0000000000000000;agency ";
        let (packet, right) = match self.rng.between(0, 4) {
            0 => (format!("StoreRows:{agency};1:{BET}"), none),
            1 => (format!("StoreBet:{agency};{BET}"), "StoreResponse:1"),
            2 => (format!("AgencyClose:{agency};0"), "AgencyCloseResponse:2;agency "),
            3 => (format!("AgencyClose:{agency}"), "Error:agency "),
            _ => (format!("WinnersRequest:{agency}"), "Error:agency "),
        };
        Attempt::new("unknown agency", packet, &[right])
    }

    /// Lines that are no packets, and batches with a bet that is none.
    fn nonsense(&mut self, agency: usize) -> Attempt {
        let next = self.checker.floor(agency) + 1;
        let invalid = "StoreRowsResponse:2;0;0000000000000000;invalid ";
        let (packet, right) = match self.rng.between(0, 4) {
            0 => (format!("StoreRows:{agency};{next}:{BET}:{BET};7"), invalid),
            1 => (format!("StoreRows:{agency};{next}:{BET}:Nadie;;666;1999-12-31;1"), invalid),
            2 => (format!("StoreBatch:{agency}:{BET}:"), "StoreResponse:1"),
            3 => ("x".repeat(LINE_BYTES), "Error:"),
            _ => (format!("\u{1}{BET}\u{fffd}"), "Error:"),
        };
        Attempt::new("nonsense sent", packet, &[right])
    }

    /// The next row, right but for its line end, which never comes.
    async fn leave_in_the_middle(&mut self, place: usize) -> anyhow::Result<()> {
        let Some(address) = self.registry.address(place) else { return Ok(()) };
        let agency = self.rng.between(1, self.checker.expected().len() as u64) as usize;
        let next = self.checker.floor(agency) + 1;
        let mut stream = TcpStream::connect(address).await?;
        self.report.fault("packet without its end");
        stream.write_all(format!("StoreRows:{agency};{next}:{BET}").as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if !answer.is_empty() {
            let answer = String::from_utf8_lossy(&answer);
            self.report.violation(format!("a packet without its end got {answer:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oracle::expected::AgencyExpected;

    fn intruder() -> Intruder {
        let digests = ["d0", "d1"].map(str::to_owned).to_vec();
        let expected = vec![AgencyExpected { digests, winners: String::new() }];
        let (registry, report) = (ServerRegistry::default(), Report::default());
        Intruder {
            checker: AnswerChecker::new(expected, None, registry.clone(), report.clone()),
            registry,
            rng: Rng::new(1),
            report,
            faults_over: CancellationToken::new(),
        }
    }

    #[test]
    fn whatever_is_stored_that_must_be_refused_is_found() {
        let mut intruder = intruder();
        for _ in 0..100 {
            for attempt in [
                intruder.late(1),
                intruder.misplaced(1),
                intruder.stranger(2),
                intruder.nonsense(1),
            ] {
                let right = attempt.right[0].clone();
                assert_eq!(attempt.check(&right), Ok(()), "{}", attempt.packet);
                for stored in
                    ["StoreResponse:0", "StoreRowsResponse:0;2;d2", "AgencyCloseResponse:0"]
                {
                    assert!(attempt.check(stored).is_err(), "{}", attempt.packet);
                }
            }
        }
    }
}
