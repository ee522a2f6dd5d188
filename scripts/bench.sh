#!/usr/bin/env bash
# usage: bench.sh [--quick] [--out DIR] [QUESTION...]
#
# Measures this project beside what the machine allows and beside other systems:
# the program of testing/bench.
#
#   --quick    fewer cases and shorter rounds: all of it in under two minutes on
#              2 quiet cores
#   --out DIR  where the JSON goes [target/bench]
#
# `cargo run --release -p bench -- --help` lists the questions and all options.
# Nothing else should run on the machine meanwhile. BENCHMARKS.md says what is
# measured, and how.
#
# Exit code 0: everything was measured, and what was stored is what was
# acknowledged. 1: something failed; it is named. 2: the command line is wrong.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
options --quick --seconds --rounds --agencies --batches --instances --bets --waiting --no-peers \
    --peer --out
exec cargo run --release --quiet --package bench -- "$@"
