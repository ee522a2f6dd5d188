#!/bin/sh
# Attacks small lotteries of real processes, and checks every promise: `cluster chaos`.
#
#   scripts/chaos.sh [--seed N] [--minutes M] [--runs N] [--side-by-side N] [--json]
#
#   --seed N      the seed of the first run; a failed run's seed holds that run again (default 1)
#   --minutes M   start no more runs after M minutes (default: 10 runs, however long they take)
#   --runs N      hold at most N runs
#
# A full disk and names that change need mounts, which systems grant that have unshare(1) and allow
# its use; elsewhere the output says that these were skipped.
#
# Exit code 0: every promise was kept in every run. 1: one was not; it is named with its seed and
# the command that holds it again, and the files of its run are kept. 2: the command line is wrong.
set -eu

case "${1:-}" in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
exec cargo run --release --quiet --package cluster -- chaos "$@"
