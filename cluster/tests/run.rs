//! The program `cluster` itself: what it prints, how it ends, and that nothing is left over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::directory::RunDirectory;
use harness::log::LogLine;
use harness::process::{ChildProcess, Ended, Launch, run};
use harness::raw_connection::RawConnection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// How long anything may take. Generous: tests run side by side on slow machines.
const LIMIT: Duration = Duration::from_secs(60);

/// A place for a run, whose temporary files can be looked for.
struct Place(RunDirectory);

impl Place {
    fn new() -> Self {
        let directory = RunDirectory::temporary().unwrap();
        fs::create_dir(directory.path().join("tmp")).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A file in a directory of its own, whose path is returned.
    fn write(&self, directory: &str, name: &str, text: &str) -> String {
        let path = self.path(directory);
        fs::create_dir_all(&path).unwrap();
        fs::write(Path::new(&path).join(name), text).unwrap();
        path
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        let binary = Path::new(env!("CARGO_BIN_EXE_cluster"));
        Launch::new(binary, arguments).with("TMPDIR", self.path("tmp"))
    }

    /// A run to its end, which comes with the exit code `code`.
    async fn run(&self, code: i32, arguments: &[&str]) -> Ended {
        let launch = self.launch(arguments);
        let ended = run("cluster", &launch, self.0.path(), LIMIT).await.unwrap();
        assert_eq!(ended.code, Some(code), "{}", ended.log);
        ended
    }

    /// What a run has left in the directory of temporary files.
    fn left(&self) -> usize {
        fs::read_dir(self.path("tmp")).unwrap().count()
    }

    /// Files of bets for two agencies with one winner and none.
    fn bets(&self) -> String {
        let row =
            |document: u32| format!("María,Núñez,{document},1990-03-17,{}\n", document % 1_000);
        let [first, second] = [1_000_000..1_000_299, 2_000_000..2_000_200]
            .map(|documents| documents.map(row).collect::<String>());
        self.write("bets", "agency-1.csv", &(first + "María,Núñez,1000299,1990-03-17,7574\n"));
        self.write("bets", "agency-2.csv", &second)
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
    let result = json(&place.run(0, &["--rows", "300", "--json"]).await);
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
async fn a_volume_may_be_given_again_and_without_json_a_table_is_printed() {
    let place = Place::new();
    let (bets, volume) = (place.bets(), place.path("volume"));
    let arguments = ["--clients", "2", "--servers", "2", "--bets", &bets, "--volume", &volume];
    let with_json = [&arguments[..], &["--json"]].concat();
    let first = json(&place.run(0, &with_json).await);
    let stored = || fs::read(Path::new(&volume).join("bets.csv")).unwrap();
    let before = stored();
    let again = json(&place.run(0, &with_json).await);
    for (result, stored_now) in [(&first, 500), (&again, 0)] {
        assert_eq!(result["ok"], true);
        assert_eq!((&result["bets"], &result["stored"]), (&500.into(), &500.into()));
        assert_eq!(result["stored_now"], stored_now);
        assert_eq!(result["agencies"][0]["documents"], serde_json::json!(["1000299"]));
        assert_eq!(result["agencies"][1]["documents"], serde_json::json!([]));
    }
    let table = place.run(0, &[&["run"], &arguments[..]].concat()).await.output.join("\n");
    assert_has(&table, &["agency", "300", "200", "500", "1000299"]);
    assert_eq!(stored(), before);
    assert_eq!(place.left(), 0);
}

#[tokio::test]
async fn what_is_not_right_and_a_client_that_fails_are_named_and_the_files_are_kept() {
    let no_agency = "1 rows of bets.csv belong to no agency of this lottery; the first is row 1";
    for (stored, problem, texts) in [
        ("9,Ana,Paz,1,2000-01-01,7574\n", no_agency, ["end of server-1.log", "command: env -i"]),
        ("2,Leo,Sol,2,2000-01-02,8\n", "client-2: ended with", ["conflict: ", "CLI_ID='2'"]),
    ] {
        let place = Place::new();
        let (bets, volume) = (place.bets(), place.write("volume", "bets.csv", stored));
        let arguments = ["--clients", "2", "--bets", &bets, "--volume", &volume, "--json"];
        let ended = place.run(1, &arguments).await;
        let result = json(&ended);
        assert_eq!(result["ok"], false);
        assert!(result["problems"][0].as_str().unwrap().starts_with(problem), "{result}");
        assert_has(&ended.log, &[problem, texts[0], texts[1], "the files are kept in"]);
        assert_eq!(place.left(), 1);
    }
}

#[tokio::test]
async fn a_wrong_command_line_or_file_is_refused_before_anything_is_started() {
    let place = Place::new();
    let bets = place.bets();
    let malformed = place.write("malformed", "agency-1.csv", "Ana,Paz,1,2000-13-01,x\nAna\n");
    let wrong = ["agency-1.csv cannot be sent", "line 1: birthdate", "number is not", "line 2: "];
    for (arguments, texts) in [
        (&["--nonsense"][..], &["--nonsense"][..]),
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

#[tokio::test]
async fn no_process_outlives_an_interrupted_or_killed_cluster() {
    for signal in [Signal::INT, Signal::KILL] {
        let place = Place::new();
        let logs = place.path("logs");
        // It is not done soon.
        let arguments = ["--rows", "100000", "--batch-size", "1", "--keep-logs", &logs];
        let launch = place.launch(&arguments);
        let mut cluster = ChildProcess::spawn("cluster", &launch, place.0.path()).unwrap();
        let listening = cluster.log().wait_for(|line| line.0.contains("3 servers, ")).await;
        assert!(listening.is_some(), "{}", cluster.diagnosis());
        let log = |server| fs::read_to_string(format!("{logs}/server-{server}.log")).unwrap();
        let address = log(1).lines().find_map(|line| LogLine(line).field("address")?.parse().ok());
        let connection = RawConnection::open(address.unwrap()).await.unwrap();
        cluster.signal(signal).unwrap();
        let status = cluster.wait(LIMIT).await.unwrap();
        connection.end().await.unwrap();
        if signal == Signal::INT {
            assert_eq!(status.code(), Some(1), "{}", cluster.diagnosis());
            assert!(cluster.log().matching(|line| line.0.contains("interrupted")) > 0);
            for log in [1, 2, 3].map(log) {
                let last = log.lines().last().unwrap_or_default();
                assert!(LogLine(last).is("shutdown", "success"), "{log}");
            }
        }
    }
}

#[tokio::test]
async fn servers_for_people_come_and_go_until_it_is_interrupted() {
    let place = Place::new();
    let launch = place.launch(&["chat", "--migrate-every", "1"]);
    let mut cluster = Command::new(&launch.binary)
        .args(&launch.arguments)
        .env_clear()
        .envs(&launch.settings)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(cluster.stdout.take().unwrap()).lines();
    let mut seen = String::new();
    while !seen.contains("has come") {
        let line = timeout(LIMIT, output.next_line()).await.unwrap().unwrap();
        seen += &line.unwrap_or_else(|| panic!("ended after {seen}"));
    }
    assert_has(&seen, &["CLI_SERVER_ADDRESS=127.0.0.1:", "client chat --name", "has gone"]);
    let id = Pid::from_raw(cluster.id().unwrap().cast_signed()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let status = timeout(LIMIT, cluster.wait()).await.unwrap().unwrap();
    assert_eq!((status.code(), place.left()), (Some(0), 0));
}
