//! `bench`: a tiny run is whole, and its counts are right. What its figures are is not
//! looked at: they are for people.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use harness::cluster::{Cluster, ClusterPlan};
use harness::directory::RunDirectory;
use serde_json::Value;
use tokio::process::Command;

/// How many rounds are asked for.
const ROUNDS: usize = 2;

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bench"))
}

async fn bench(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    let output = command.args(arguments).kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_tiny_run_measures_all_contestants_and_leaves_nothing_but_results() {
    let (place, results) = (RunDirectory::temporary().unwrap(), RunDirectory::temporary().unwrap());
    let mut peer = Cluster::start(ClusterPlan::new(&binary(), place.path())).await.unwrap();
    let out = results.path().join("results");
    let address = peer.servers()[0].address().to_string();
    let arguments = "storing --agencies 2 --batches 10 --instances 1,3 --seconds 0.05 --rounds 2";
    // One of the three instances has no agency.
    let mut arguments: Vec<_> = arguments.split(' ').collect();
    arguments.extend(["--peer", &address, "--out", out.to_str().unwrap()]);
    let (code, output, errors) = bench(&arguments).await;
    assert_eq!(code, Some(0), "{output}{errors}");

    let mut files: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["storing.json"]);
    let json = json(&out, "storing");
    assert_eq!(json["question"], "storing");
    let machine = &json["machine"];
    assert!(machine["processor"].is_string() && machine["version"].is_string(), "{machine}");
    assert!(machine["kernel"].as_str().is_some_and(|it| it.starts_with("Linux ")), "{machine}");
    assert!(machine["file_system"].as_str().is_some_and(|it| it != "unknown"), "{machine}");
    for key in ["cores", "memory_gib", "sync_median_us", "sync_p99_us"] {
        assert!(machine[key].as_f64().is_some_and(|value| value > 0.0), "{key} of {machine}");
    }
    assert_eq!(json["effort"]["rounds"], ROUNDS);
    assert!(json["others_processor_share"].as_f64().is_some_and(|it| (0.0..=1.0).contains(&it)));
    assert_eq!(json["cases"][0]["parameters"]["batch"], 10);
    let names = ["1 instance", "3 instances", "limit", "bare server", "Redis", "PostgreSQL"];
    assert_case(&json["cases"][0], &names, 2, &output);
    let peer_name = format!("peer {address}");
    assert_case(&json["cases"][1], &["1 instance", &peer_name], 1, &output);
    // The reference's terms: batches of 20, each stored whole.
    let stored = fs::read_to_string(peer.plan().volume.bets()).unwrap().lines().count();
    assert!(stored > 0 && stored.is_multiple_of(20), "{stored}");
    peer.stop().await.unwrap();
}

/// The case has these contestants in order, the first `ours` of them ours; those that are present
/// have all figures with all rounds and are compared, the others say what to do.
fn assert_case(case: &Value, names: &[&str], ours: usize, output: &str) {
    let mut others = 0;
    for (place, contestant) in contestants(case, names).iter().enumerate() {
        if let Some(reason) = contestant["absent"].as_str() {
            assert!(output.contains(reason), "{reason} in {output}");
            continue;
        }
        others += usize::from(place >= ours);
        let figures = contestant["figures"].as_array().unwrap();
        assert!(figures.len() >= 4, "{contestant}");
        assert_eq!(figures[0]["name"], "bets_per_second");
        assert!(figures[0]["median"].as_f64().unwrap() > 0.0, "{contestant}");
    }
    let ratios = case["ratios"].as_array().unwrap();
    let speeds = ratios.iter().filter(|ratio| ratio["figure"] == "bets_per_second").count();
    assert_eq!(speeds, ours * others, "{ratios:?}");
}

/// The contestants of a case, which have these names, and figures of all rounds.
fn contestants<'c>(case: &'c Value, names: &[&str]) -> &'c [Value] {
    let contestants = case["contestants"].as_array().unwrap();
    assert!(contestants.iter().map(|it| &it["name"]).eq(names), "{contestants:?}");
    for figure in contestants.iter().flat_map(|it| it["figures"].as_array().unwrap()) {
        assert_eq!(figure["rounds"].as_array().unwrap().len(), ROUNDS, "{figure}");
        assert!(figure["median"].as_f64().unwrap() >= 0.0, "{figure}");
    }
    contestants
}

/// What the run wrote for `question`.
fn json(results: &Path, question: &str) -> Value {
    let text = fs::read_to_string(results.join(format!("{question}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_other_question_is_answered_whole() {
    let results = RunDirectory::temporary().unwrap();
    let arguments = "draw start growth client --bets 0,3000 --waiting 7 --instances 1,2 \
                     --seconds 0.05 --rounds 2 --out";
    let mut arguments: Vec<_> = arguments.split_ascii_whitespace().collect();
    arguments.push(results.path().to_str().unwrap());
    let (code, output, errors) = bench(&arguments).await;
    assert_eq!(code, Some(0), "{output}{errors}");
    for (question, cases, names) in [
        ("draw", 3, ["1 instance", "2 instances"].as_slice()),
        ("start", 2, &["an instance", "reading the file"]),
        ("growth", 1, &["an empty volume", "3,000 bets"]),
        ("client", 2, &["client"]),
    ] {
        let json = json(results.path(), question);
        let all = json["cases"].as_array().unwrap();
        assert_eq!(all.len(), cases, "{json}");
        for case in all {
            contestants(case, names);
        }
    }
    let case = &json(results.path(), "growth")["cases"][0];
    assert_eq!(case["contestants"][0]["role"], "baseline");
    assert_eq!(case["ratios"][0]["to"], "an empty volume");
    let left = fs::read_dir(results.path()).unwrap().count();
    assert_eq!(left, 4, "results and nothing else are left");
}

#[tokio::test]
async fn a_wrong_command_line_starts_nothing() {
    for arguments in [["--seconds", "0"], ["--batches", "x"], ["guessing", "--quick"]] {
        assert_eq!(bench(&arguments).await.0, Some(2), "{arguments:?}");
    }
}
