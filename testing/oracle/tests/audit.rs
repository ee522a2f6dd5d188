//! The independent count finds every kind of difference: each test breaks one thing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;

use harness::bets_dir::BetsDirectory;
use harness::volume::Volume;
use oracle::audit::{Announced, Audit, Expected};

const WINNER: u16 = 7574;

/// A lottery of two agencies that went right: three bets with one winner, and no bet at all.
struct Lottery {
    _directory: tempfile::TempDir,
    bets: BetsDirectory,
    volume: Volume,
}

const FIRST: &str = "Ana,Paz,1,2000-01-01,07574\r\n\"Ro\"\"sa\"\"\",\"Gil, M\",2,1999-12-31,0\r\n\
                     Íñigo,Sol,3,2000-02-29,8\r\n";
const STORED: &str = "1,Ana,Paz,1,2000-01-01,7574\n1,\"Ro\"\"sa\"\"\",\"Gil, M\",2,1999-12-31,0\r\n\
                      1,Íñigo,Sol,3,2000-02-29,8\n";

impl Lottery {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("agency-1.csv"), FIRST).unwrap();
        fs::write(directory.path().join("agency-2.csv"), "").unwrap();
        let bets = BetsDirectory::given(directory.path(), 2).unwrap();
        let volume = Volume::new(&bets.path().join("volume"));
        fs::create_dir(volume.path()).unwrap();
        let lottery = Self { _directory: directory, bets, volume };
        lottery.store(STORED);
        lottery.close("2\n1\n2\n");
        lottery.draw(|_| {});
        lottery
    }

    fn store(&self, rows: &str) {
        fs::write(self.volume.bets(), rows).unwrap();
    }

    fn close(&self, agencies: &str) {
        fs::write(self.volume.agencies_closed(), agencies).unwrap();
    }

    /// Writes the right record, changed by `change`.
    fn draw(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let digest = Audit::of_rows(&self.expected()).unwrap().agencies[0].digest.clone();
        let mut record = serde_json::json!({
            "winning_number": WINNER, "agencies_amount": 2, "bets": 3,
            "time": "2026-01-31T10:00:00Z", "instance": "127.0.0.1:40123",
            "agencies": [
                {"agency": 1, "rows": 3, "digest": digest, "winners": ["1"]},
                {"agency": 2, "rows": 0, "digest": "0000000000000000", "winners": []},
            ],
        });
        change(&mut record);
        fs::write(self.volume.draw(), record.to_string()).unwrap();
    }

    fn expected(&self) -> Expected<'_> {
        Expected { bets: &self.bets, volume: &self.volume, winner_number: WINNER }
    }

    /// The problems as they are printed.
    fn problems(&self) -> Vec<String> {
        let audit = Audit::of_draw(&self.expected()).unwrap();
        audit.problems.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_right_lottery_has_no_problem() {
    let lottery = Lottery::new();
    let mut audit = Audit::of_draw(&lottery.expected()).unwrap();
    let counts: Vec<_> = audit.agencies.iter().map(|a| (a.agency, a.bets, a.stored)).collect();
    assert_eq!(counts, [(1, 3, 3), (2, 0, 0)]);
    assert_eq!(audit.agencies[0].winners, ["1"]);
    assert_eq!(audit.agencies[1].digest, "0000000000000000");
    let right = ["1".to_owned()];
    audit.check_announced(&Announced { agency: 1, place: "file", documents: &right });
    audit.check_announced(&Announced { agency: 2, place: "file", documents: &[] });
    assert_eq!(audit.problems, []);
    fs::remove_file(lottery.volume.bets()).unwrap();
    assert_eq!(lottery.problems(), ["agency 1: 3 rows are not stored, from row 1 on"]);
}

#[test]
fn every_wrong_row_is_found() {
    let lottery = Lottery::new();
    let lines: Vec<&str> = STORED.split_inclusive('\n').collect();
    let differ = |rows, row, stored: &str, wanted: &str| {
        format!(
            "agency 1: {rows} stored rows differ from its file; \
             row {row} is stored as \"{stored}\" and should be \"{wanted}\""
        )
    };
    let third = |stored| differ(1, 3, stored, "Íñigo;Sol;3;2000-02-29;8");
    let swapped = differ(2, 1, "Ro\"sa\";Gil, M;2;1999-12-31;0", "Ana;Paz;1;2000-01-01;07574");
    let missing = |rows, row| format!("agency 1: {rows} rows are not stored, from row {row} on");
    let surplus = "agency 1: 1 rows are stored beyond the end of its file".to_owned();
    let foreign = "2 rows of bets.csv belong to no agency of this lottery; the first is row 1";
    let torn = "bets.csv does not end with a line end: its last row is torn";
    let not_rows =
        |lines, rows| format!("bets.csv has {lines} lines and {rows} rows: some lines are no rows");
    for (rows, problems) in [
        (lines[..2].concat(), vec![missing(1, 3)]),
        (format!("{STORED}{}", lines[2]), vec![surplus]),
        ([lines[1], lines[0], lines[2]].concat(), vec![swapped]),
        (STORED.replace("Íñigo", "Inigo"), vec![third("Inigo;Sol;3;2000-02-29;8")]),
        (STORED.replace("Sol", "sol"), vec![third("Íñigo;sol;3;2000-02-29;8")]),
        (STORED.replace(",3,", ",4,"), vec![third("Íñigo;Sol;4;2000-02-29;8")]),
        (STORED.replace("-29", "-28"), vec![third("Íñigo;Sol;3;2000-02-28;8")]),
        (STORED.replace(",8\n", ",80\n"), vec![third("Íñigo;Sol;3;2000-02-29;80")]),
        (format!("3,Leo,Sol,4,2000-01-01,1\nx\n{STORED}"), vec![foreign.to_owned()]),
        (STORED.trim_end().to_owned(), vec![torn.to_owned()]),
        (format!("\n{STORED}"), vec![not_rows(4, 3)]),
    ] {
        lottery.store(&rows);
        assert_eq!(lottery.problems(), problems, "{rows}");
    }
    // The quote swallows the rest: three lines, one record.
    lottery.store(&STORED.replace('"', "").replace("1,Ana", "1,\"Ana"));
    let problems = lottery.problems();
    assert!(problems.contains(&not_rows(3, 1)) && problems.contains(&missing(2, 2)));
}

#[test]
fn wrong_closes_are_found() {
    let lottery = Lottery::new();
    for (closes, problem) in [
        ("1\n", "agencies_closed.txt: [2] (1) have not closed"),
        ("1\n2\n3\n", "agencies_closed.txt: [3] (1) are no agencies of this lottery"),
        ("1\n2", "agencies_closed.txt: its last line has no end"),
    ] {
        lottery.close(closes);
        assert_eq!(lottery.problems(), [problem]);
    }
    fs::remove_file(lottery.volume.agencies_closed()).unwrap();
    assert_eq!(lottery.problems(), ["agencies_closed.txt: [1, 2] (2) have not closed"]);
}

#[test]
fn a_wrong_draw_is_found() {
    let lottery = Lottery::new();
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 7] = [
        (|draw| draw["winning_number"] = 1.into(), "winning_number is 1 and should be 7574"),
        (|draw| draw["agencies_amount"] = 3.into(), "agencies_amount is 3 and should be 2"),
        (|draw| draw["bets"] = 4.into(), "bets is 4 and should be 3"),
        (|draw| draw["agencies"][0]["rows"] = 2.into(), "rows of agency 1 is 2 and should be 3"),
        (
            |draw| draw["agencies"][1]["digest"] = "1".into(),
            "digest of agency 2 is 1 and should be 0000000000000000",
        ),
        (
            |draw| draw["agencies"][0]["winners"] = serde_json::json!(["3", "1"]),
            "winners of agency 1 is [3, 1] (2) and should be [1] (1)",
        ),
        (
            |draw| draw["agencies"].as_array_mut().unwrap().truncate(1),
            "the list of agencies is [1] (1) and should be [1, 2] (2)",
        ),
    ];
    for (change, problem) in cases {
        lottery.draw(change);
        assert_eq!(lottery.problems(), [format!("draw.json: {problem}")]);
    }
    fs::write(lottery.volume.draw(), "{").unwrap();
    assert!(lottery.problems()[0].starts_with("draw.json: "));
    fs::remove_file(lottery.volume.draw()).unwrap();
    assert!(lottery.problems()[0].starts_with("draw.json: "));
}

#[test]
fn wrong_announcements_are_found() {
    let lottery = Lottery::new();
    for (agency, documents, problem) in [
        (1, vec![], "agency 1: its winners on file are [] (0) and should be [1] (1)"),
        (2, vec!["9"], "agency 2: its winners on file are [9] (1) and should be [] (0)"),
    ] {
        let documents: Vec<String> = documents.into_iter().map(str::to_owned).collect();
        let mut audit = Audit::of_draw(&lottery.expected()).unwrap();
        audit.check_announced(&Announced { agency, place: "file", documents: &documents });
        assert_eq!(audit.problem_lines(), format!("{problem}\n"));
    }
}
