#!/usr/bin/env bash
# usage: hostile.sh [--seed N] [--lines N] [--quick] [--json] [ATTACK...]
#
# Attacks a real server with hostile input, and measures what its agencies
# notice: the program of testing/hostile.
#
#   --seed N   what mutated lines are made of: the same seed, the same lines [1]
#   --lines N  how many mutated lines are sent in all [3,000,000]
#   --quick    fewer connections, one short round, and throughput is not judged
#   --json     end standard output with one JSON line; the table goes to
#              standard error
#
# `cargo run --release -p hostile -- --help` lists the attacks; without any, all
# are made. Nothing else should run on the machine meanwhile. The limit of
# open files must be 10,100, with --quick 1,300.
#
# Exit code 0: the server held. 1: something did not; it is named, and the files
# are kept. 2: the command line is wrong, or the limit of open files is too low.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
options --seed --lines --quick --json
exec cargo run --release --quiet --package hostile -- "$@"
