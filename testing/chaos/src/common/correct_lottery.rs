//! A lottery that went right, as its files and its processes leave it, for tests to break.

use std::fs;

use tempfile::TempDir;

use super::WINNER;
use super::checks::Case;
use super::tally::Findings;
use harness::bets_dir::BetsDirectory;
use harness::volume::Volume;
use oracle::expected::{AgencyExpected, expect};

/// When its draw was held.
pub const TIME: &str = "2026-01-31T10:00:00Z";

/// The bets of its agencies, as their files have them.
const FILES: [&[&str]; 2] = [
    &[
        "Ana,Paz,11,2000-01-01,7574",
        "Eva,Sol,12,2000-01-02,1",
        "Leo,Gil,13,2000-01-03,7574",
        "Íñigo,Paz,14,2000-01-04,2",
    ],
    &["Luz,Mar,21,2000-01-05,7574"],
];

/// The lottery, and where it is.
#[derive(Debug)]
pub struct CorrectLottery {
    /// What is to be judged.
    pub case: Case,
    /// The documents of each agency's winners.
    pub winners: [Vec<String>; 2],
    /// What the servers must answer.
    pub expected: Vec<AgencyExpected>,
    // Held: it goes when it is dropped.
    directory: TempDir,
}

/// A line of a server's log that tells of a draw held at `time`.
pub fn draw_told(time: &str) -> String {
    format!("2026-01-31 10:00:01 INFO     action: draw | result: success | time: {time}")
}

impl CorrectLottery {
    /// Two agencies with four bets and one, all stored, closed and drawn.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (agency, rows) in (1..).zip(FILES) {
            let file = directory.path().join(format!("agency-{agency}.csv"));
            fs::write(file, rows.join("\n") + "\n").unwrap();
        }
        let bets = BetsDirectory::given(directory.path(), 2).unwrap();
        let volume = Volume::new(&bets.path().join("volume"));
        fs::create_dir(volume.path()).unwrap();
        let expected = expect(&bets, WINNER).unwrap();
        let winners = [["11", "13"].as_slice(), &["21"]];
        let winners = winners.map(|all| all.iter().copied().map(str::to_owned).collect());
        let case = Case { bets, volume, findings: Findings::default() };
        let lottery = Self { case, winners, expected, directory };
        lottery.store(&lottery.rows());
        lottery.close("1\n2\n");
        lottery.draw(WINNER);
        lottery
    }

    /// All rows as they are to be stored, the second agency's between those of the first.
    pub fn rows(&self) -> Vec<String> {
        let [first, second] = FILES;
        let row = |agency, row: &str| format!("{agency},{row}\n");
        let mut rows: Vec<_> = first.iter().map(|text| row(1, text)).collect();
        rows.insert(2, row(2, second[0]));
        rows
    }

    /// Has exactly these rows stored.
    pub fn store(&self, rows: &[String]) {
        fs::write(self.case.volume.bets(), rows.concat()).unwrap();
    }

    /// Has exactly these closes stored.
    pub fn close(&self, closes: &str) {
        fs::write(self.case.volume.agencies_closed(), closes).unwrap();
    }

    /// Has the draw recorded, of the number `number`.
    pub fn draw(&self, number: u16) {
        let agencies: Vec<_> = (1..)
            .zip(self.expected.iter().zip(&self.winners))
            .map(|(agency, (expected, winners))| {
                let (rows, digest) = (expected.rows(), expected.digest());
                serde_json::json!({
                    "agency": agency, "rows": rows, "digest": digest, "winners": winners,
                })
            })
            .collect();
        let record = serde_json::json!({
            "winning_number": number, "agencies_amount": 2, "bets": 5, "agencies": agencies,
            "time": TIME, "instance": "127.0.0.1:12345",
        });
        fs::write(self.case.volume.draw(), record.to_string()).unwrap();
    }

    /// A volume beside its own.
    pub fn other_volume(&self) -> Volume {
        let path = self.directory.path().join("other");
        fs::create_dir_all(&path).unwrap();
        Volume::new(&path)
    }

    /// What was found since this was asked last.
    pub fn found(&mut self) -> Vec<String> {
        std::mem::take(&mut self.case.findings).all()
    }
}

/// One of the findings has to say what is `wanted`.
pub fn assert_found(found: &[String], wanted: &str) {
    assert!(found.iter().any(|finding| finding.contains(wanted)), "{wanted:?} in {found:?}");
}

/// Makes wrong rows of right ones.
pub type Wrong = fn(&mut Vec<String>);

/// What is to be found of wrong rows, and what makes them.
pub const WRONG_ROWS: [(&str, Wrong); 7] = [
    ("agency 1: 1 rows are not stored, from row 4 on", |rows| drop(rows.remove(4))),
    ("agency 1: 1 rows are stored beyond the end of its file", |rows| rows.push(rows[0].clone())),
    ("agency 1: 3 stored rows differ from its file", |rows| rows.insert(0, rows[0].clone())),
    ("agency 1: 2 stored rows differ from its file", |rows| drop(rows.remove(1))),
    ("agency 2: 1 rows are stored beyond the end of its file", |rows| {
        rows.push("2,Nadie,Ninguno,666,1999-12-31,7574\n".to_owned());
    }),
    ("1 rows of bets.csv belong to no agency", |rows| rows.push("3,A,B,1,2000-01-01,1\n".into())),
    ("its last row is torn", |rows| rows[4].truncate(9)),
];
