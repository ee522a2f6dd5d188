//! Every attack in brief, for every check: those with figures are `scripts/hostile.sh`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn a_server_holds_against_every_attack() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
    let ended = command.args(["--quick", "--seed", "1", "--json"]).output().unwrap();
    let (output, errors) = (String::from_utf8_lossy(&ended.stdout), &ended.stderr.escape_ascii());
    assert_eq!(ended.status.code(), Some(0), "{output}{errors}");
    let json: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    let attacks = json.get("attacks").unwrap().as_array().unwrap();
    assert!(attacks.len() > 10, "{json}");
    let of = |name: &str, key: &str| {
        let attack = attacks.iter().find(|attack| attack.get("attack").unwrap() == name);
        attack.unwrap().get(key).unwrap().as_u64().unwrap()
    };
    assert!(of("mutations", "lines") > 10_000 && of("mutations", "stored") > 0, "{json}");
    assert!(of("many-half-lines", "closed") > 0, "half lines end after 5 s: {json}");
    assert!(of("full", "alarm_lines") == 1 && of("no-descriptors", "alarm_lines") == 1, "{json}");
}

#[test]
fn a_low_limit_of_open_files_is_told_and_nothing_is_started() {
    let mut command = Command::new("sh");
    let script = "ulimit -n 500 && exec \"$0\" --quick bad-bytes";
    let output = command.args(["-c", script, env!("CARGO_BIN_EXE_hostile")]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("1300 open files") && errors.contains("ulimit -n"), "{errors}");
}
