#!/bin/sh
# Attacks a real server with hostile input, and measures what its agencies notice: `cluster hostile`.
#
#   scripts/hostile.sh [--seed N] [--lines N] [--quick] [--json] [ATTACK...]
#
#   --seed N   what mutated lines are made from: the same seed, the same lines (default 1)
#   --lines N  how many mutated lines are sent in all (default 3,000,000)
#   --quick    fewer connections, one short round, and throughput is not judged
#   --json     end standard output with one JSON line; the table goes to standard error
#
# `cluster hostile --help` lists the attacks; without any, all are made. Nothing else should run on
# the machine meanwhile. For all connections the limit of open files must be above 10,100.
#
# Exit code 0: the server held. 1: something did not; it is named, and the files are kept. 2: the
# command line is wrong.
set -eu

case "${1:-}" in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
esac
cd "$(dirname "$0")/.."
exec cargo run --release --quiet --package cluster -- hostile "$@"
