//! Whether what a lottery left is right: its files, what servers answer when all is done, the draws
//! that their logs tell of, and the winners that agencies were told.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use super::WINNER;
use super::tally::Findings;
use harness::bets_dir::BetsDirectory;
use harness::raw_connection::RawConnection;
use harness::volume::Volume;
use oracle::audit::{self, Announced, Audit, Expected};
use oracle::expected::AgencyExpected;

/// How long a client may take to learn of a draw that has been held.
pub const AGAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A lottery that is to be judged.
#[derive(Debug, Clone)]
pub struct Case {
    /// The bets that were sent.
    pub bets: BetsDirectory,
    /// What the servers share.
    pub volume: Volume,
    /// Where to tell what is not right.
    pub findings: Findings,
}

impl Case {
    /// What the independent count is to compare.
    #[must_use]
    pub fn expected(&self) -> Expected<'_> {
        Expected { bets: &self.bets, volume: &self.volume, winner_number: WINNER }
    }

    /// Compares the files of a lottery that is done, and what agencies were told, with the files of
    /// bets; gives how many bets are stored. Takes as long as it takes to read them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn check_files(&self, announced: &[Announced<'_>]) -> anyhow::Result<u64> {
        let mut audit = Audit::of_draw(&self.expected()).context("count")?;
        for announced in announced {
            audit.check_announced(announced);
        }
        for problem in &audit.problems {
            self.findings.add(problem.to_string());
        }
        // Ours write a repeated close once.
        let closes = fs::read_to_string(self.volume.agencies_closed()).unwrap_or_default();
        if closes.lines().count() > self.bets.agencies() as usize {
            self.findings.add("a close stands twice in agencies_closed.txt");
        }
        Ok(audit.agencies.iter().map(|agency| agency.stored).sum())
    }

    /// However often an instance started, its log tells of the one draw that is on record.
    ///
    /// # Errors
    /// There is no draw on record.
    pub fn check_draws_told<'l>(
        &self,
        name: &str,
        log: impl Iterator<Item = &'l str>,
    ) -> anyhow::Result<()> {
        let time = audit::time_of_draw(&self.volume)?;
        for line in audit::other_draws(log, &time) {
            self.findings.add(format!("{name} tells of another draw than {time}: {line}"));
        }
        Ok(())
    }
}

/// Asks the server `name` about every agency of a lottery that is done.
///
/// # Errors
/// It does not answer.
pub async fn ask(
    name: &str,
    mut connection: RawConnection,
    expected: &[AgencyExpected],
    findings: &Findings,
) -> anyhow::Result<()> {
    for (agency, expected) in (1..).zip(expected) {
        let (rows, digest) = (expected.rows(), expected.digest());
        for (packet, wanted) in [
            (
                format!("AgencyStatus:{agency}"),
                format!("AgencyStatusResponse:{rows};{digest};drawn"),
            ),
            (format!("WinnersRequest:{agency}"), format!("WinnersResponse:{}", expected.winners)),
        ] {
            let answer = connection.ask(&packet).await?;
            if answer != wanted {
                findings.add(format!("{name}: {packet} got {answer:?}, not {wanted:?}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::common::correct_lottery::{
        CorrectLottery, TIME, WRONG_ROWS, assert_found, draw_told,
    };

    /// What is found when the first agency was told `first`.
    fn found(lottery: &mut CorrectLottery, first: &[&str]) -> Vec<String> {
        let first: Vec<String> = first.iter().copied().map(str::to_owned).collect();
        let place = "standard output";
        let announced = [
            Announced { agency: 1, place, documents: &first },
            Announced { agency: 2, place, documents: &lottery.winners[1] },
        ];
        lottery.case.check_files(&announced).unwrap();
        lottery.found()
    }

    const RIGHT: [&str; 2] = ["11", "13"];

    #[test]
    fn rows_that_are_wrong_are_found() {
        let mut lottery = CorrectLottery::new();
        assert_eq!(lottery.case.check_files(&[]).unwrap(), 5);
        assert_eq!(found(&mut lottery, &RIGHT), [""; 0]);
        for (wanted, wrong) in WRONG_ROWS {
            let mut rows = lottery.rows();
            wrong(&mut rows);
            lottery.store(&rows);
            assert_found(&found(&mut lottery, &RIGHT), wanted);
        }
        // Of a batch of two rows only the first is there.
        lottery.store(&lottery.rows()[..4]);
        assert_found(
            &found(&mut lottery, &RIGHT),
            "agency 1: 1 rows are not stored, from row 4 on",
        );
    }

    #[test]
    fn closes_draws_and_winners_that_are_wrong_are_found() {
        let mut lottery = CorrectLottery::new();
        for (closes, wanted) in [
            ("1\n", "[2] (1) have not closed"),
            ("1\n2\n3\n", "are no agencies of this lottery"),
            ("1\n2\n1\n", "a close stands twice"),
        ] {
            lottery.close(closes);
            assert_found(&found(&mut lottery, &RIGHT), wanted);
        }
        lottery.close("2\n1\n");
        assert_eq!(found(&mut lottery, &RIGHT), [""; 0]);
        for wrong in [&["13", "11"][..], &["11"], &["11", "13", "13"], &[]] {
            assert_found(
                &found(&mut lottery, wrong),
                "agency 1: its winners on standard output are",
            );
        }
        lottery.draw(1);
        assert_found(&found(&mut lottery, &RIGHT), "winning_number is 1 and should be 7574");
        std::mem::take(&mut lottery.winners[0]);
        lottery.draw(WINNER);
        assert_found(&found(&mut lottery, &RIGHT), "winners of agency 1 is [] (0) and should be");
        fs::remove_file(lottery.case.volume.draw()).unwrap();
        assert_found(&found(&mut lottery, &RIGHT), "draw.json: ");
    }

    #[test]
    fn a_log_that_tells_of_another_draw_is_found() {
        let mut lottery = CorrectLottery::new();
        let (right, other) = (draw_told(TIME), draw_told("2026-01-31T10:00:09Z"));
        for (log, count) in [(vec![&right, &right], 0), (vec![&right, &other], 1), (vec![], 0)] {
            lottery
                .case
                .check_draws_told("server-1", log.iter().map(|line| line.as_str()))
                .unwrap();
            assert_eq!(lottery.found().len(), count, "{log:?}");
        }
        fs::remove_file(lottery.case.volume.draw()).unwrap();
        assert!(lottery.case.check_draws_told("server-1", [].into_iter()).is_err());
    }

    /// What is found when a server answers `answer` to `packet`, and the truth to all others.
    async fn found_in_answers(packet: &'static str, answer: &str) -> Vec<String> {
        let mut lottery = CorrectLottery::new();
        let mut answers: Vec<(String, String)> = Vec::new();
        for (agency, expected) in (1..).zip(&lottery.expected) {
            let (rows, digest) = (expected.rows(), expected.digest());
            let status = format!("AgencyStatusResponse:{rows};{digest};drawn\n");
            answers.push((format!("AgencyStatus:{agency}"), status));
            let winners = format!("WinnersResponse:{}\n", lottery.winners[agency - 1].join(";"));
            answers.push((format!("WinnersRequest:{agency}"), winners));
        }
        let answer = answer.replace("DIGEST", lottery.expected[0].digest());
        answers.insert(0, (packet.to_owned(), format!("{answer}\n")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                let (_, answer) = answers.iter().find(|(packet, _)| *packet == line).unwrap();
                lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let connection = RawConnection::open(address).await.unwrap();
        ask("server-1", connection, &lottery.expected, &lottery.case.findings).await.unwrap();
        answering.await.unwrap();
        lottery.found()
    }

    #[tokio::test]
    async fn answers_that_are_wrong_are_found() {
        let right = "AgencyStatusResponse:4;DIGEST;drawn";
        assert_eq!(found_in_answers("AgencyStatus:1", right).await, [""; 0]);
        for (packet, wrong) in [
            ("AgencyStatus:1", "AgencyStatusResponse:3;DIGEST;drawn"),
            ("AgencyStatus:1", "AgencyStatusResponse:4;0000000000000000;drawn"),
            ("AgencyStatus:1", "AgencyStatusResponse:4;DIGEST;closed"),
            ("WinnersRequest:1", "WinnersResponse:13;11"),
            ("WinnersRequest:2", "WinnersResponse:"),
            ("WinnersRequest:2", "Error:busy"),
        ] {
            let found = found_in_answers(packet, wrong).await;
            assert_eq!(found.len(), 1, "{wrong} {found:?}");
            assert!(found[0].starts_with(&format!("server-1: {packet} got")), "{found:?}");
        }
    }
}
