#!/usr/bin/env bash
# usage: fuzz.sh [--seconds N] [TARGET...]
#
# Looks for inputs that break what must hold of every input: each target of
# testing/fuzz/ for N seconds (default 60), or the named ones. The properties are those
# of `cargo test`, where random inputs are put to them; here the inputs are bred
# for the code that they reach. Needs a nightly Rust and cargo-fuzz. What was
# bred stays in testing/fuzz/corpus, for the next run to go on from.
#
# Prints for each target how many inputs were tried, how many places in the code
# they reached (cov), in how many ways (ft), and how many inputs are kept. Exits
# 0 if every property held, 1 if one was broken (the input is named, and what
# runs it again) or the targets do not compile, 2 for a wrong command line, 77
# if something is not installed.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

seconds=60
targets=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --seconds)
            [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || usage "--seconds takes a number from 1"
            seconds=$2
            shift 2
            ;;
        -*) usage "there is no option $1" ;;
        *)
            [[ -f testing/fuzz/fuzz_targets/$1.rs ]] || usage "there is no target $1"
            targets+=("$1")
            shift
            ;;
    esac
done

# needs WHAT HOW: ends the script where something is missing.
needs() {
    printf '%s: skipped: needs %s: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 77
}
cargo +nightly --version >/dev/null 2>&1 ||
    needs "a nightly Rust" "rustup toolchain install nightly --profile minimal"
command -v cargo-fuzz >/dev/null || needs "cargo-fuzz" "cargo install cargo-fuzz --locked"

if [[ ${#targets[@]} == 0 ]]; then
    for file in testing/fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# figure NAME: the last value that the fuzzer logged under a name.
figure() { sed -nE "s/.*$1:? +([0-9]+).*/\1/p" "$log" | tail -n 1; }

# fuzz TARGET: runs it, and says in a line what came of it.
fuzz() {
    local corpus=testing/fuzz/corpus/$1 options
    mkdir -p "$corpus"
    options=(-max_total_time="$seconds" -dict=testing/fuzz/dictionary -timeout=10 -print_final_stats=1)
    cargo +nightly fuzz run --fuzz-dir testing/fuzz "$1" "$corpus" "testing/fuzz/seeds/$1" -- "${options[@]}" >"$log" 2>&1 || {
        tail -n 60 "$log"
        printf '%s: a property is broken\n' "$1"
        return 1
    }
    printf '%-16s %10s inputs %7s/s  cov %5s  ft %6s  kept %5s\n' "$1" \
        "$(figure stat::number_of_executed_units)" "$(figure stat::average_exec_per_sec)" \
        "$(figure cov)" "$(figure ft)" "$(find "$corpus" -type f | wc -l)"
}

# What a thread holds that is just ending would count as leaked.
export ASAN_OPTIONS=detect_leaks=0
cargo +nightly fuzz build --fuzz-dir testing/fuzz || fail "the targets do not compile"
broken=0
for target in "${targets[@]}"; do
    fuzz "$target" || broken=1
done
exit "$broken"
