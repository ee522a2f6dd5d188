//! The scripts that build for minutes judge their options before that.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

const NO_CARGO: &str = "#!/bin/sh\necho built\n";

/// Runs a script where `cargo` builds nothing and says so.
fn run(script: &str, arguments: &[&str]) -> Output {
    let programs = tempfile::tempdir().unwrap();
    let cargo = programs.path().join("cargo");
    fs::write(&cargo, NO_CARGO).unwrap();
    fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");
    let mut script = Command::new(format!("{scripts}/{script}"));
    script.args(arguments).env("PATH", path).output().unwrap()
}

#[test]
fn a_wrong_option_is_refused_before_anything_is_built() {
    for script in ["chaos.sh", "hostile.sh", "bench.sh"] {
        let ended = run(script, &["--json", "--wrong", "1"]);
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(told.contains("there is no option --"), "{told}");
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(2), &b""[..]));
    }
}
