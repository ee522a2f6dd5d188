#!/bin/sh
# Measures this project beside what the machine allows and beside other systems: `cluster bench`.
#
#   scripts/bench.sh [--quick] [QUESTION...] [--out DIR]
#
#   --quick    fewer cases and shorter rounds: all of it in under two minutes on 2 quiet cores
#   --out DIR  where JSON and plots go (default target/bench)
#
# `scripts/bench.sh --help` lists these; `cluster bench --help` all options. Nothing else should run
# on the machine meanwhile. BENCHMARKS.md says what is measured, and how.
#
# Exit code 0: everything was measured, and what was stored is what was acknowledged. 1: something
# failed; it is named. 2: the command line is wrong.
set -eu

case "${1:-}" in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
exec cargo run --release --quiet --package cluster -- bench "$@"
