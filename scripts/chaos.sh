#!/bin/sh
# Attacks small lotteries of real processes, and checks every promise: `cluster chaos`.
#
#   scripts/chaos.sh [--seed N] [--minutes M] [--runs N] [--side-by-side N] [--json]
#
#   --seed N      the seed of the first run; a failed run's seed holds that run again (default 1)
#   --minutes M   start no more runs after M minutes (default: 10 runs, however long they take)
#   --runs N      hold at most N runs
#
# Exit code 0: every promise was kept in every run. 1: one was not; it is named with its seed, and
# the files of its run are kept. 2: the command line is wrong.
set -eu

case "${1:-}" in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
exec cargo run --release --quiet --package cluster -- chaos "$@"
