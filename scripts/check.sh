#!/usr/bin/env bash
# usage: check.sh
#
# Everything that must hold before a change is committed: format, lints, tests,
# documentation, scripts and the list of variables. Needs Rust only; shellcheck
# is used if it is installed. Exits 0 if all of it holds, else with the code of
# the first that does not.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
[[ $# == 0 ]] || usage "takes no arguments"

check() {
    printf '\n== %s\n' "$*"
    "$@"
}

check cargo fmt --all --check
check cargo fmt --manifest-path testing/fuzz/Cargo.toml --check
check scripts/check-env.sh
if command -v shellcheck >/dev/null; then
    check shellcheck --external-sources scripts/*.sh .ci/run
else
    printf '\n== shellcheck is not installed: scripts are not checked\n'
fi
check cargo clippy --workspace --all-targets --locked -- --deny warnings
# Its entry points need no nightly compiler to be checked, and libFuzzer no C++ compiler: nothing
# is linked, so where it says that libFuzzer lies nothing has to be.
CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target} \
    check cargo check --manifest-path testing/fuzz/Cargo.toml --locked
check cargo test --workspace --locked
export RUSTDOCFLAGS="--deny warnings"
check cargo doc --workspace --no-deps --locked
printf '\n== all checks passed in %s s\n' "$SECONDS"
