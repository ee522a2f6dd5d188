#!/usr/bin/env bash
# usage: chaos.sh [--seed N] [--minutes M] [--runs N] [--side-by-side N]
#                 [--json]
#
# Attacks small lotteries of real processes, and checks every promise:
# the program of testing/chaos.
#
#   --seed N          the seed of the first run; a failed run's seed repeats
#                     that run [1]
#   --minutes M       start no more runs after M minutes [10 runs, however long
#                     they take]
#   --runs N          perform at most N runs
#   --side-by-side N  how many runs to perform at once, 1 to 8 [4]
#   --json            end standard output with one JSON line; the table goes to
#                     standard error
#
# A full disk and names that change need mounts, which systems grant that have
# unshare(1) and allow its use; elsewhere the output says that these were
# skipped.
#
# Exit code 0: every promise was kept in every run. 1: one was not; it is named
# with its seed and the command that repeats it, and the files of its run
# are kept. 2: the command line is wrong.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
options --seed --minutes --runs --side-by-side --json
exec cargo run --release --quiet --package chaos -- "$@"
