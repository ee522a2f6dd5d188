//! The program `cluster` itself: what it prints, how it ends, and that nothing is left over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::{ChildProcess, Ended, Launch, run};
use harness::raw_connection::RawConnection;
use rustix::process::Signal;
use serde_json::Value;

/// How long anything may take. Generous: tests run side by side on slow machines.
const LIMIT: Duration = Duration::from_secs(60);

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_cluster"))
}

/// `count` rows of `agency`, the first of which are `winners` winners.
fn rows(agency: u32, count: u32, winners: u32) -> String {
    (0..count).fold(String::new(), |mut rows, place| {
        let number = if place < winners { 7574 } else { place };
        let document = agency * 1_000_000 + place;
        writeln!(rows, "María {place},Núñez,{document},1990-03-17,{number}").unwrap();
        rows
    })
}

/// A place for a run, whose temporary files can be looked for.
struct Place {
    directory: RunDirectory,
}

impl Place {
    fn new() -> Self {
        let directory = RunDirectory::temporary().unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        Launch::new(&binary(), arguments).with("TMPDIR", self.path("tmp"))
    }

    /// A run to its end, which comes with the exit code `code`.
    async fn run(&self, code: i32, arguments: &[&str]) -> Ended {
        let launch = self.launch(arguments);
        let ended = run("cluster", &launch, self.directory.path(), LIMIT).await.unwrap();
        assert_eq!(ended.code, Some(code), "{}", ended.log);
        ended
    }

    /// What a run has left in the directory of temporary files.
    fn left(&self) -> usize {
        fs::read_dir(self.path("tmp")).unwrap().count()
    }

    /// Files of bets for two agencies with one winner and none.
    fn bets(&self) -> String {
        let bets = self.path("bets");
        fs::create_dir(&bets).unwrap();
        fs::write(Path::new(&bets).join("agency-1.csv"), rows(1, 300, 1)).unwrap();
        fs::write(Path::new(&bets).join("agency-2.csv"), rows(2, 200, 0)).unwrap();
        bets
    }
}

/// All of these `texts` are in `text`.
fn assert_has(text: &str, texts: &[&str]) {
    for wanted in texts {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(ended.output.last().unwrap()).unwrap()
}

#[tokio::test]
async fn made_bets_are_run_and_all_is_right() {
    let place = Place::new();
    let ended = place.run(0, &["--rows", "300", "--json"]).await;
    let result = json(&ended);
    assert_eq!((&result["ok"], &result["servers"]), (&true.into(), &3.into()));
    // Agencies differ in size; some have winners, and the last has none.
    let counts = |key: &str| -> Vec<u64> {
        let agencies = result["agencies"].as_array().unwrap();
        agencies.iter().map(|agency| agency[key].as_u64().unwrap()).collect()
    };
    assert_eq!(counts("agency"), [1, 2, 3, 4, 5]);
    assert_eq!(counts("bets"), [300, 255, 210, 165, 120]);
    assert_eq!(counts("stored"), counts("bets"));
    assert!(counts("winners")[..4].iter().all(|winners| *winners > 0), "{result}");
    assert_eq!(counts("winners")[4], 0);
    assert_eq!((&result["bets"], &result["stored"]), (&1050.into(), &1050.into()));
    assert_eq!(place.left(), 0);
}

#[tokio::test]
async fn without_json_a_table_is_printed() {
    let place = Place::new();
    let bets = place.bets();
    let ended = place.run(0, &["run", "--servers", "1", "--clients", "2", "--bets", &bets]).await;
    let table = ended.output.join("\n");
    assert_has(&table, &["agency", "300", "200", "500", "1000000"]);
    assert_eq!(place.left(), 0);
}

#[tokio::test]
async fn a_volume_may_be_given_again() {
    let place = Place::new();
    let (bets, volume) = (place.bets(), place.path("volume"));
    let arguments =
        ["--clients", "2", "--servers", "2", "--bets", &bets, "--volume", &volume, "--json"];
    let first = json(&place.run(0, &arguments).await);
    let stored = || fs::read(Path::new(&volume).join("bets.csv")).unwrap();
    let before = stored();
    let again = place.run(0, &arguments).await;
    let again = json(&again);
    assert_eq!(again["ok"], true);
    for key in ["bets", "stored"] {
        assert_eq!((&first[key], &again[key]), (&500.into(), &500.into()));
    }
    assert_eq!((&first["stored_now"], &again["stored_now"]), (&500.into(), &0.into()));
    for result in [&first, &again] {
        assert_eq!(result["agencies"][0]["documents"], serde_json::json!(["1000000"]));
        assert_eq!(result["agencies"][1]["documents"], serde_json::json!([]));
    }
    assert_eq!(stored(), before);
    assert_eq!(place.left(), 0);
}

#[tokio::test]
async fn what_is_not_right_is_named_and_the_files_are_kept() {
    let place = Place::new();
    let (bets, volume) = (place.bets(), place.path("volume"));
    fs::create_dir(&volume).unwrap();
    // A row of no agency of this lottery.
    fs::write(Path::new(&volume).join("bets.csv"), "9,Ana,Paz,1,2000-01-01,7574\n").unwrap();
    let ended =
        place.run(1, &["--clients", "2", "--bets", &bets, "--volume", &volume, "--json"]).await;
    let result = json(&ended);
    assert_eq!(result["ok"], false);
    let problem = "1 rows of bets.csv belong to no agency of this lottery; the first is row 1";
    assert_eq!(result["problems"][0], problem);
    assert_has(
        &ended.log,
        &[problem, "command: env -i", "end of server-1.log", "the files are kept in"],
    );
    assert_eq!(place.left(), 1);
}

#[tokio::test]
async fn a_client_that_fails_ends_the_run_at_once() {
    let place = Place::new();
    let (bets, volume) = (place.bets(), place.path("volume"));
    fs::create_dir(&volume).unwrap();
    let stored = "2,Leo,Sol,2,2000-01-02,8\n";
    fs::write(Path::new(&volume).join("bets.csv"), stored).unwrap();
    let arguments = ["--clients", "2", "--bets", &bets, "--volume", &volume, "--json"];
    let ended = place.run(1, &arguments).await;
    assert_eq!(json(&ended)["ok"], false);
    assert_has(&ended.log, &["client-2: ended with", "conflict: ", "CLI_ID='2'"]);
}

#[tokio::test]
async fn a_wrong_command_line_or_file_is_refused_before_anything_is_started() {
    let place = Place::new();
    let bets = place.bets();
    let malformed = place.path("malformed");
    fs::create_dir(&malformed).unwrap();
    fs::write(Path::new(&malformed).join("agency-1.csv"), "Ana,Paz,1,2000-13-01,x\nAna\n").unwrap();
    let wrong = ["agency-1.csv cannot be sent", "line 1: birthdate", "number is not", "line 2: "];
    for (arguments, texts) in [
        (&["--servers", "17"][..], &["--servers"][..]),
        (&["--nonsense"], &["--nonsense"]),
        (&["--bets", "no-such-directory"], &["no-such-directory"]),
        (&["--bets", &bets, "--clients", "3"], &["agency-3.csv"]),
        (&["--bets", &bets, "--rows", "7"], &["--rows"]),
        (&["--volume", "/dev/null/volume"], &["--volume"]),
        (&["--clients", "1", "--bets", &malformed, "--json"], &wrong),
    ] {
        let ended = place.run(2, arguments).await;
        assert_has(&ended.log, texts);
        assert_eq!(ended.output, [""; 0]);
    }
    place.run(0, &["--help"]).await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_ends_and_says_so() {
    let place = Place::new();
    let arguments = ["--rows", "100000", "--batch-size", "1", "--timeout", "1", "--json"];
    let ended = place.run(1, &arguments).await;
    let result = json(&ended);
    assert_eq!(result["ok"], false);
    let problem = "not done after 1 s; --timeout allows more";
    assert_eq!(result["problems"], serde_json::json!([problem]));
    assert!(ended.log.contains(&format!("problem: {problem}")), "{}", ended.log);
    assert_eq!(place.left(), 1);
}

/// Starts a run that is not done soon, and a connection to its first server.
async fn started(place: &Place) -> (ChildProcess, RawConnection) {
    let logs = place.path("logs");
    let arguments = ["--rows", "100000", "--batch-size", "1", "--keep-logs", &logs];
    let launch = place.launch(&arguments);
    let cluster = ChildProcess::spawn("cluster", &launch, place.directory.path()).unwrap();
    let listening = cluster.log().wait_for(|line| line.0.contains("3 servers, ")).await;
    assert!(listening.is_some(), "{}", cluster.diagnosis());
    let log = fs::read_to_string(place.path("logs/server-1.log")).unwrap();
    let address = log.lines().find_map(|line| LogLine(line).field("address")).unwrap();
    let connection = RawConnection::open(address.parse().unwrap()).await.unwrap();
    (cluster, connection)
}

#[tokio::test]
async fn an_interrupt_stops_everything() {
    let place = Place::new();
    let (mut cluster, connection) = started(&place).await;
    cluster.signal(Signal::INT).unwrap();
    let status = cluster.wait(LIMIT).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", cluster.diagnosis());
    assert!(cluster.log().matching(|line| line.0.contains("interrupted")) > 0);
    connection.end().await.unwrap();
    for server in 1..=3 {
        let log = fs::read_to_string(place.path(&format!("logs/server-{server}.log"))).unwrap();
        let ended = log.lines().last().is_some_and(|line| LogLine(line).is("shutdown", "success"));
        assert!(ended, "{log}");
    }
}

#[tokio::test]
async fn no_process_outlives_a_killed_cluster() {
    let place = Place::new();
    let (mut cluster, connection) = started(&place).await;
    cluster.kill().await.unwrap();
    connection.end().await.unwrap();
}
